"""Sources with many frames, and sources on a network: video files, cameras, streams, images behind a URL.

Frames are read by OpenCV, which is installed anyway and brings FFmpeg (``docs/decisions/0015-videos-by-opencv.md``).
Nothing here is asked of a network unless the user names an address as the source.
"""

from __future__ import annotations

import logging
import os
import re
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen

import cv2
import numpy as np
from numpy.typing import NDArray

from saccade.data.images.decode import IMAGE_SUFFIXES
from saccade.data.images.quiet import quiet_decoders
from saccade.errors import DataError
from saccade.structures.reading import require_regular

__all__ = [
    "VIDEO_SUFFIXES",
    "Frame",
    "camera_number",
    "count_frames",
    "is_address",
    "open_address",
    "open_capture",
    "read_frames",
    "without_password",
]

logger = logging.getLogger("saccade")

# FFmpeg's own lines are switched off, since ours name the file; read when OpenCV opens the first video.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

VIDEO_SUFFIXES = frozenset(
    {".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv"}
)
_SCHEMES = ("http", "https", "rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "udp", "tcp")
_SECONDS = 20.0  # that a server may take to answer
_MOST_BYTES = 1 << 28  # of an image behind a URL
_FEW = 2  # frames by which the count in a file's header may be wrong


@dataclass(frozen=True)
class Frame:
    """One frame of a video, camera or stream.

    Args:
        pixels: (H, W, 3) RGB.
        number: Counted from 0.
        seconds: Since the first frame; of cameras and streams by the clock.
    """

    pixels: NDArray[Any]
    number: int
    seconds: float


def is_address(text: str) -> bool:
    """Whether a text is the address of an image or a stream.

    Example:
        >>> [is_address(text) for text in ("rtsp://10.0.0.7/live", "https://host/photo.jpg", "C:/a.jpg")]
        [True, True, False]
    """
    return re.match(rf"({'|'.join(_SCHEMES)})://", text, re.IGNORECASE) is not None


def without_password(address: str) -> str:
    """The address as it may be shown: without the user and the password that it may hold.

    Example:
        >>> without_password("rtsp://admin:secret@10.0.0.7:554/live")
        'rtsp://10.0.0.7:554/live'
    """
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def camera_number(source: Any) -> int | None:
    """Number of the camera that a source names; None if it names none.

    Example:
        >>> camera_number("0"), camera_number(1), camera_number("0.jpg"), camera_number(True)
        (0, 1, None, None)
    """
    if isinstance(source, int | np.integer) and not isinstance(source, bool):
        return int(source)
    is_number = isinstance(source, str) and re.fullmatch(r"\d{1,3}", source) is not None
    return int(source) if is_number and not Path(source).exists() else None


def open_address(address: str) -> bytes | cv2.VideoCapture:
    """What an address gives: the bytes of an encoded image, or an open stream.

    Raises:
        DataError: If nothing answers, or the answer is neither.
    """
    name = without_password(address)
    if urlsplit(address).scheme.lower() in ("http", "https"):
        image = _download_image(address, name)
        if image is not None:
            return image
    return open_capture(address, name)


def _download_image(address: str, name: str) -> bytes | None:
    """Bytes of an image; None of what is no image by the server's word."""
    try:
        with urlopen(_request(address), timeout=_SECONDS) as answer:  # noqa: S310 - http and https alone get here
            kind = answer.headers.get_content_type()
            if kind.startswith("text/"):
                raise DataError(f"{name}: the server sends a page ({kind}). Give the address of the image itself.")
            by_name = (
                kind == "application/octet-stream" and Path(urlsplit(address).path).suffix.lower() in IMAGE_SUFFIXES
            )
            if not kind.startswith("image/") and not by_name:
                return None
            content: bytes = answer.read(_MOST_BYTES + 1)
    except (OSError, ValueError, HTTPException) as error:  # URLError is an OSError
        raise DataError(
            f"{name}: {getattr(error, 'reason', None) or error}. Check the address and the network."
        ) from error
    if len(content) > _MOST_BYTES:
        raise DataError(f"{name}: the image has more than {_MOST_BYTES >> 20} MB. Download it, and give the file.")
    return content


def _request(address: str) -> Request:
    """The request for an address; user and password in it become the login of HTTP, which redirections do not see."""
    request = Request(without_password(address), headers={"User-Agent": "saccade"})  # noqa: S310 - as above
    login = urlsplit(address).netloc.rpartition("@")[0]
    if login:
        request.add_unredirected_header("Authorization", f"Basic {b64encode(unquote(login).encode()).decode()}")
    return request


def open_capture(source: str | int, name: str) -> cv2.VideoCapture:
    """Open a video file, a camera or a stream.

    Args:
        source: File, address, or number of a camera.
        name: In messages.

    Raises:
        DataError: If it cannot be opened; the message names it and the remedy.
    """
    if isinstance(source, str) and not is_address(source):
        require_regular(source)
    limits = [
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        int(1000 * _SECONDS),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        int(1000 * _SECONDS),
    ]
    with quiet_decoders():
        if isinstance(source, int):
            capture = cv2.VideoCapture(source)
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest frame rather than those that wait
        else:
            capture = cv2.VideoCapture(source, cv2.CAP_FFMPEG, limits)
    if capture.isOpened():
        return capture
    raise DataError(f"{name}: cannot be opened. {_remedy(source)}")


def _remedy(source: str | int) -> str:
    if isinstance(source, int):
        return "Check that it is plugged in, that no other program has it, and that you may read it (group video)."
    if is_address(source):
        return "Check the address, the login and the network."
    return "The file is damaged, or no video: copy it again, or convert it (ffmpeg -i IN OUT.mp4)."


def read_frames(capture: cv2.VideoCapture, name: str, every: int = 1, live: bool = False) -> Iterator[Frame]:
    """Read the frames of an open capture one by one, and close it at the end.

    Args:
        capture: From :func:`open_capture`.
        name: In messages.
        every: Give each n-th frame; the others are not even converted.
        live: Whether time is that of the clock, as of cameras and streams.

    Raises:
        DataError: If not a single frame can be read.
    """
    start, number = time.monotonic(), 0
    expected = 0 if live else int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    rate = capture.get(cv2.CAP_PROP_FPS)
    try:
        while capture.grab():
            if number % every == 0:
                seconds = time.monotonic() - start if live else capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
                if not live and number and seconds <= 0:  # a container without times
                    seconds = number / rate if rate > 0 else 0.0
                done, pixels = capture.retrieve()
                if not done:
                    break
                yield Frame(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), number, seconds)
            number += 1
    finally:
        capture.release()
    if not number:
        raise DataError(f"{name}: no frame can be read. The file is damaged, or the stream empty.")
    if number < expected - _FEW:
        logger.warning(
            "%s: %d of %d frames could be read; the file ends before its time. Copy it again.", name, number, expected
        )


def count_frames(path: Path, every: int = 1) -> int:
    """Count the frames that a video has by its header; 0 where it does not say, or is none.

    Example:
        >>> Path("a.mp4").write_bytes(b"no video")
        8
        >>> count_frames(Path("a.mp4"))
        0
    """
    try:
        capture = open_capture(str(path), str(path))
    except DataError:
        return 0
    frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return max(0, -(-frames // every))
