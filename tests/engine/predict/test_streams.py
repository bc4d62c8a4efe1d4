"""Videos, cameras, zips, addresses and stacked tensors as sources; the network is a server on loopback."""

from __future__ import annotations

import io
import socket
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

import saccade
from saccade.cli import main
from saccade.deploy.runtime import FusedRuntime
from saccade.engine.predict.sources import Skips, SourceOptions, count_source, expand_source, iter_images, iter_source
from saccade.errors import ConfigError, DataError
from saccade.models.base import Model
from saccade.models.checkpoint import save_model
from saccade.models.registry import create_model

GREYS = [20 * number for number in range(10)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch predicts: nothing is converted for each of many calls."""
    monkeypatch.setattr("saccade.deploy.runtime.best_cpu_runtime", lambda model, cached: FusedRuntime(model))


@pytest.fixture(scope="module")
def model() -> Model:
    network = create_model("lenet5", num_classes=3).eval()
    network.class_names = ("a", "b", "c")
    return network


@pytest.fixture
def run(model: Model, tmp_path: Path) -> str:
    return str(save_model(model, tmp_path / "run" / "best.safetensors"))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Ten frames of 64 x 48, ever brighter, at 5 frames a second."""
    file = tmp_path / "clips" / "clip.avi"
    file.parent.mkdir()
    writer = cv2.VideoWriter(str(file), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, (64, 48))
    for grey in GREYS:
        writer.write(np.full((48, 64, 3), grey, np.uint8))
    writer.release()
    return file


def _png(size: tuple[int, int] = (20, 10)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, "red").save(stream, "PNG")
    return stream.getvalue()


def test_frames_have_their_number_time_and_pixels(clip: Path) -> None:
    frames = list(iter_images(str(clip), channels=3))
    assert [image.frame for image, _ in frames] == list(range(10))
    assert np.allclose([image.seconds for image, _ in frames], np.arange(10) / 5)
    assert {image.name for image, _ in frames} == {str(clip)}
    assert np.allclose([pixels.mean() for _, pixels in frames], GREYS, atol=2)
    assert frames[0][1].shape == (48, 64, 3)
    third = [image.frame for image, _ in iter_images(clip, 1, options=SourceOptions(every=3))]
    assert third == [0, 3, 6, 9]
    assert count_source(str(clip)) == 10
    assert count_source(str(clip.parent), SourceOptions(every=3)) == 4
    with pytest.raises(ConfigError, match="every is 0"):
        SourceOptions(every=0)


def test_results_of_a_video_carry_frame_and_seconds(model: Model, clip: Path) -> None:
    for how in ({}, {"tile": 32}, {"batch_size": 4}):
        results = list(saccade.predict(model, clip, every=5, **how))  # type: ignore[arg-type]
        assert [(one.frame, one.seconds, one.image_id) for one in results] == [(0, 0.0, 0), (5, 1.0, 1)]
        assert str(results[1]).startswith(f"{clip} frame 5 (1.00 s): ")
        assert results[1].to_json()["frame"] == 5
    (still,) = saccade.predict(model, np.zeros((8, 8)))
    assert (still.frame, still.seconds) == (None, None)
    assert "frame" not in still.to_json()


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".webm"])
def test_the_video_of_drawings_plays_at_the_speed_of_the_source(
    run: str, clip: Path, tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out" / f"drawn{suffix}"
    assert main(["predict", "--model", run, "--source", str(clip), "--every", "2", "--video", str(out)]) == 0
    drawn = list(iter_images(out, 3))
    assert len(drawn) == 5
    assert np.allclose([image.seconds for image, _ in drawn], [0, 0.4, 0.8, 1.2, 1.6], atol=0.01)
    top = [pixels[20:60, 20:60].mean() for _, pixels in drawn]  # the image; the classes stand below it
    assert np.allclose(top, GREYS[::2], atol=6)
    assert [file.name for file in out.parent.iterdir()] == [out.name]
    said = capfd.readouterr()
    assert said.err.splitlines() == [f"5 images, video in {out}"]
    assert len(said.out.splitlines()) == 5


def test_images_become_a_video_of_a_second_each(run: str, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, size in enumerate([(400, 300), (500, 500), (20, 10)]):
        Image.new("RGB", size, "red").save(folder / f"{number}.png")
    out = tmp_path / "out.avi"
    assert main(["predict", "--model", run, "--source", str(folder), "--video", str(out)]) == 0
    assert [image.seconds for image, _ in iter_images(out, 3)] == [0, 1, 2]


def test_videos_that_cannot_be_written_are_refused(run: str, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = clip.read_bytes()
    for target, said in (("out.gif", "is no video that is written. Use .mp4"), (str(clip), "is predicted. Name anoth")):
        assert main(["predict", "--model", run, "--source", str(clip), "--video", target]) == 2
        assert said in capsys.readouterr().err
    assert clip.read_bytes() == before


def test_broken_videos_are_named(model: Model, clip: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    junk = tmp_path / "junk.mp4"
    junk.write_bytes(b"no video" * 100)
    with pytest.raises(DataError, match=r"junk\.mp4: cannot be opened\. The file is damaged, or no video: copy it"):
        list(iter_source(junk, 3))
    found = saccade.predict(model, [junk, clip, tmp_path / "gone.mp4"], on_error="skip")
    assert len(list(found)) == 10
    assert [Path(skipped.path).name for skipped in found.skipped] == ["junk.mp4", "gone.mp4"]
    assert capfd.readouterr().err == ""
    assert count_source(str(junk)) == 0


def test_a_video_that_ends_early_gives_what_it_has_and_says_so(clip: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter_fourcc(*"MJPG"), 5.0, (64, 48))
    for _ in range(10):
        writer.write(rng.integers(0, 255, (48, 64, 3), np.uint8))
    writer.release()
    content = clip.read_bytes()
    clip.write_bytes(content[: len(content) // 2])
    frames = list(iter_images(clip, 3))
    assert 2 <= len(frames) < 8
    assert f"{len(frames)} of 10 frames could be read" in caplog.text


def test_unreadable_cameras_and_streams_are_named(capfd: pytest.CaptureFixture[str]) -> None:
    for camera in ("97", 97):
        with pytest.raises(DataError, match=r"camera-97: cannot be opened\. Check that it is plugged in"):
            list(iter_source(camera, 3))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(DataError, match=rf"^rtsp://{address}/live: cannot be opened\. Check the address") as error:
        list(iter_source(f"rtsp://admin:secret@{address}/live", 3))
    assert "secret" not in str(error.value)
    with pytest.raises(DataError, match=rf"^http://{address}/a\.jpg: .*refused.*Check the address and the network"):
        list(iter_source(f"http://{address}/a.jpg", 3))
    assert capfd.readouterr().err == ""


def test_a_file_called_like_a_camera_is_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("0").write_bytes(_png())
    assert [name for name, _ in iter_source("0", 3)] == ["0"]


class _Server(BaseHTTPRequestHandler):
    answers: ClassVar[dict[str, tuple[int, dict[str, str], bytes]]] = {}

    def do_GET(self) -> None:
        code, headers, body = self.answers.get(self.path, (404, {}, b""))
        if self.headers.get("Authorization") and self.path == "/locked.png":
            code = 200
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    running = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{running.server_port}"
    running.shutdown()
    running.server_close()
    thread.join()


def test_images_and_streams_behind_an_address(
    run: str, server: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoded = [cv2.imencode(".jpg", np.full((48, 64, 3), grey, np.uint8))[1].tobytes() for grey in GREYS[:4]]
    parts = [b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%s\r\n" % (len(e), e) for e in encoded]
    _Server.answers = {
        "/photo.png?size=1": (200, {"Content-Type": "image/png"}, _png()),
        "/raw.png": (200, {"Content-Type": "application/octet-stream"}, _png()),
        "/page": (200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>"),
        "/moved": (302, {"Location": "/raw.png"}, b""),
        "/away": (302, {"Location": "file:///etc/passwd"}, b""),
        "/locked.png": (401, {"Content-Type": "image/png"}, _png()),
        "/clip.avi": (200, {"Content-Type": "video/x-msvideo"}, clip.read_bytes()),
        "/live": (200, {"Content-Type": "multipart/x-mixed-replace; boundary=frame"}, b"".join(parts)),
    }
    for path in ("photo.png?size=1", "raw.png", "moved"):
        ((name, pixels),) = iter_source(f"http://{server}/{path}", 3)
        assert (name, pixels.shape) == (f"http://{server}/{path}", (10, 20, 3))
    ((name, _),) = iter_source(f"http://me:secret@{server}/locked.png", 3)
    assert name == f"http://{server}/locked.png"
    assert len(list(iter_source(f"http://{server}/clip.avi", 3))) == 10
    live = list(iter_images(f"http://{server}/live", 3))
    assert [image.frame for image, _ in live] == [0, 1, 2, 3]
    assert np.allclose([pixels.mean() for _, pixels in live], GREYS[:4], atol=3)
    for path, said in (
        ("page", "the server sends a page"),
        ("away", "is not allowed"),
        ("gone.png", "Not Found"),
    ):
        with pytest.raises(DataError, match=said):
            list(iter_source(f"http://{server}/{path}", 3))
    words = [
        "predict",
        "--model",
        run,
        "--source",
        f"http://{server}/photo.png?size=1",
        "--save",
        str(tmp_path / "out"),
    ]
    assert main(words) == 0
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["photo.png"]


def test_zips_are_read_where_they_are(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "photos.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("a/one.png", "b/one.png", "two.png"):
            archive.writestr(name, _png())
        archive.writestr("b/broken.png", _png()[:30])
        archive.writestr("notes.txt", "notes")
        archive.writestr("__MACOSX/._two.png", b"junk")
    assert count_source(str(file)) == 4
    out = tmp_path / "out"
    assert main(["predict", "--model", run, "--source", str(file), "--save", str(out)]) == 1
    said = capsys.readouterr()
    assert [line.split(": ")[0] for line in said.out.splitlines()] == [
        f"{file}/{name}" for name in ("a/one.png", "b/one.png", "two.png")
    ]
    assert f"{file}/b/broken.png" in said.err
    saved = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert saved == ["a/one.png", "b/one.png", "two.png"]


def test_hostile_zips_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(name: str, members: dict[str, bytes]) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        return tmp_path / name

    with pytest.raises(DataError, match=r"empty\.zip: the zip holds no images"):
        list(iter_source(make("empty.zip", {"a.txt": b""}), 3))
    with pytest.raises(DataError, match=r"out\.zip: a name in it is '\.\./a\.png'"):
        list(iter_source(make("out.zip", {"../a.png": _png()}), 3))
    (tmp_path / "junk.zip").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"junk\.zip: the zip cannot be read .* Copy or download it again"):
        list(iter_source(tmp_path / "junk.zip", 3))
    monkeypatch.setattr("saccade.data.readers.archive.MAX_MEMBER_BYTES", 1000)
    huge = make("huge.zip", {"a.png": bytes(1 << 20), "b.png": _png()})
    with pytest.raises(DataError, match=r"huge\.zip/a\.png: 1,048,576 bytes exceed the limit"):
        list(iter_source(huge, 3))
    skips = Skips("skip")
    assert [name for name, _ in iter_source(huge, 3, skips)] == [f"{huge}/b.png"]
    assert [one.path for one in skips.images] == [f"{huge}/a.png"]


def test_bytes_and_stacked_tensors_are_sources(model: Model) -> None:
    batch = torch.rand(2, 3, 8, 6)
    images = list(iter_source([_png(), batch, np.zeros((3, 5, 4, 3), np.uint8), bytearray(_png())], 3))
    assert [(name, pixels.shape[:2]) for name, pixels in images] == [
        ("bytes-0", (10, 20)),
        *[(f"array-{number}", (8, 6)) for number in (1, 2)],
        *[(f"array-{number}", (5, 4)) for number in (3, 4, 5)],
        ("bytes-6", (10, 20)),
    ]
    assert np.abs(images[1][1] - batch[0].permute(1, 2, 0).numpy() * 255).max() <= 1
    assert len(list(saccade.predict(model, batch, tile=4))) == 2
    with pytest.raises(DataError, match="bytes-0"):
        list(iter_source(b"no image", 3))


def test_folders_below_a_folder(run: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "shots"
    for name in ("a/10.jpg", "a/2.jpg", "b/c/2.jpg", ".hidden/x.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), "red").save(folder / name)
    (folder / "b" / "loop").symlink_to(folder)
    (folder / "b" / "clip.avi").write_bytes(clip.read_bytes())
    assert main(["predict", "--model", run, "--source", str(folder)]) == 3
    assert "recursive (--recursive) finds them" in capsys.readouterr().err
    out = tmp_path / "out"
    words = ["predict", "--model", run, "--source", str(folder), "--recursive", "--every", "9", "--save", str(out)]
    assert main(words) == 0
    files = [line.split(": ")[0].removeprefix(f"{folder}/") for line in capsys.readouterr().out.splitlines()]
    assert files == ["a/2.jpg", "a/10.jpg", "b/clip.avi frame 0 (0.00 s)", "b/clip.avi frame 9 (1.80 s)", "b/c/2.jpg"]
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.*")) == [
        *("a/10.jpg", "a/2.jpg", "b/c/2.jpg", "b/clip-000000.jpg", "b/clip-000009.jpg")
    ]


def test_no_drawing_replaces_another_or_an_image(run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mix"
    for name in ("x/a.jpg", "y/a.jpg", "y/a-2.jpg", "y/b.bmp", "y/B.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 10), "red").save(folder / name)
    out = tmp_path / "out"
    words = ["predict", "--model", run, "--source", f"{folder}/*/*"]
    assert main([*words, "--save", str(out)]) == 0
    assert len(list(out.iterdir())) == 5
    capsys.readouterr()
    assert main([*words, "--save", str(out)]) == 0
    assert capsys.readouterr().err.endswith(f"5 images, drawings in {out} (5 replaced)\n")
    before = {file: file.read_bytes() for file in folder.rglob("*.*")}
    assert main(["predict", "--model", run, "--source", str(folder / "y"), "--save", str(folder / "y")]) == 2
    assert "the folder of the images themselves. Save to another one" in capsys.readouterr().err
    assert {file: file.read_bytes() for file in folder.rglob("*.*")} == before


def test_nothing_of_a_source_is_read_ahead(clip: Path) -> None:
    images = expand_source([clip, Path("gone.jpg")])
    assert next(images).frame == 0  # the second is looked for when the first is done
    with pytest.raises(DataError, match=r"gone\.jpg"):
        list(images)
