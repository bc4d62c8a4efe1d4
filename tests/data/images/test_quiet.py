"""Decoders write nothing to the terminal, and nothing that others write is lost."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from saccade.data.images.decode import read_image
from saccade.data.images.quiet import quiet_decoders


def damaged_jpeg() -> bytes:
    """A JPEG of whose compressed pixels a part is missing, which libjpeg reports on standard error."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = cv2.imencode(".jpg", noise)[1].tobytes()
    return data[: len(data) // 2] + b"\xff\xd9"


def test_a_damaged_jpeg_is_decoded_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    data = damaged_jpeg()
    cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert "Corrupt JPEG data" in capfd.readouterr().err  # what has to be kept back
    assert read_image(data).shape == (64, 64, 3)
    assert capfd.readouterr() == ("", "")


def test_every_line_that_others_write_meanwhile_arrives(capfd: pytest.CaptureFixture[str]) -> None:
    data, stop = damaged_jpeg(), threading.Event()

    def decode(_: int) -> None:
        while not stop.is_set():
            read_image(data)

    lines = [f"line {number}\n" for number in range(300)]
    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(decode, number) for number in range(3)]
        for line in lines:
            os.write(2, line.encode())
        stop.set()
        for future in running:
            future.result()
    # Not their order: what a thread writes in the moment in which standard error is given back overtakes the rest.
    assert sorted(capfd.readouterr().err.splitlines(keepends=True)) == sorted(lines)


def test_standard_error_is_given_back_after_errors_and_nesting(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with quiet_decoders(), quiet_decoders():
            os.write(2, b"Corrupt JPEG data: no\nkept\n")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    os.write(2, b"after\n")
    assert capfd.readouterr().err == "kept\nafter\n"
