from __future__ import annotations

import dataclasses
import hashlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from saccade.errors import SaccadeError, WeightsError
from saccade.models.base import Model
from saccade.models.registry import create_model
from saccade.weights.download import download
from saccade.weights.entry import PublishedWeights
from saccade.weights.published import PUBLISHED, fetch_published

CONTENT = bytes(range(256)) * 4096  # 1 MiB
HASH = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """What the loopback server does, and what it was asked."""

    url: str = ""
    content: bytes = CONTENT
    etag: str | None = '"v1"'
    cuts: list[int] = field(default_factory=list)  # bytes after which a response breaks off, one a request
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            if self.path == "/gone.pth":
                self.send_error(404)
                return
            wanted = self.headers.get("Range")
            state.ranges.append(wanted)
            start = 0
            if wanted is not None and self.headers.get("If-Range") in (None, state.etag):
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(state.content) > 0:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(state.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = state.content[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(state.content) - 1}/{len(state.content)}")
            if state.etag:
                self.send_header("ETag", state.etag)
            self.end_headers()
            self.wfile.write(body[: state.cuts.pop(0)] if state.cuts else body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.url = f"http://127.0.0.1:{http.server_port}/w.pth"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_whole_file_with_progress(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    found = download(server.url, tmp_path / "deep" / "w.pth", HASH, lambda done, total: seen.append((done, total)))
    assert found == HASH
    assert (tmp_path / "deep" / "w.pth").read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert _names(tmp_path / "deep") == ["w.pth"]


@pytest.mark.parametrize("etag", ['"v1"', None])
def test_goes_on_after_a_cut_connection(server: Server, tmp_path: Path, etag: str | None) -> None:
    server.etag = etag
    server.cuts = [300_000, 200_000]
    download(server.url, tmp_path / "w.pth", HASH)
    assert (tmp_path / "w.pth").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=500000-"]


def test_goes_on_after_a_stopped_program(server: Server, tmp_path: Path) -> None:
    server.cuts = [300_000]

    def stop(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(server.url, tmp_path / "w.pth", HASH, stop)
    assert not (tmp_path / "w.pth").exists()
    done = (tmp_path / "w.pth.part").stat().st_size
    assert done > 0
    download(server.url, tmp_path / "w.pth", HASH)
    assert server.ranges[-1] == f"bytes={done}-"
    assert (tmp_path / "w.pth").read_bytes() == CONTENT
    assert _names(tmp_path) == ["w.pth"]


def test_starts_anew_when_the_file_on_the_server_is_another(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.pth.part").write_bytes(b"old" * 1000)
    (tmp_path / "w.pth.part.etag").write_text('"v0"')
    download(server.url, tmp_path / "w.pth", HASH)
    assert (tmp_path / "w.pth").read_bytes() == CONTENT


def test_part_that_is_already_whole(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.pth.part").write_bytes(CONTENT)
    download(server.url, tmp_path / "w.pth", HASH)
    assert (tmp_path / "w.pth").read_bytes() == CONTENT


def test_part_longer_than_the_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "w.pth.part").write_bytes(CONTENT + b"more")
    download(server.url, tmp_path / "w.pth", HASH)
    assert (tmp_path / "w.pth").read_bytes() == CONTENT


def test_wrong_hash_removes_the_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"sha256 .* expected 00ff.*removed"):
        download(server.url, tmp_path / "w.pth", "00ff")
    assert _names(tmp_path) == []


def test_missing_on_the_server(server: Server, tmp_path: Path) -> None:
    url = server.url.replace("w.pth", "gone.pth")
    with pytest.raises(WeightsError, match=r"gone\.pth: the server answered 404.*put the file at '.*w\.pth'"):
        download(url, tmp_path / "w.pth")
    assert not (tmp_path / "w.pth").exists()


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(WeightsError, match=r"refused.*put the file at '.*w\.pth' yourself"):
        download(f"http://127.0.0.1:{port}/w.pth", tmp_path / "w.pth")


def test_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(WeightsError, match=r"cannot reach nowhere\.invalid.*offline.*put the file"):
        download("http://nowhere.invalid/w.pth", tmp_path / "w.pth")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_other_schemes_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="only http and https"):
        download(url, tmp_path / "x")


def test_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SaccadeError, match=r"cannot write '.*file/w\.pth'.*SACCADE_CACHE"):
        download(server.url, tmp_path / "file" / "w.pth")


def _entry(url: str, **hashes: str) -> PublishedWeights:
    return PublishedWeights("tiny", "digits", url, "plain", "CC0-1.0", 10, "imagenet", {}, **hashes)


def test_ranks_that_ask_together_download_once(server: Server, tmp_path: Path) -> None:
    entry = _entry(server.url, sha256=HASH)
    threads = [threading.Thread(target=fetch_published, args=(entry, tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / entry.file_name).read_bytes() == CONTENT
    assert len(server.ranges) == 1


@pytest.mark.parametrize("hashes", [{"sha256": HASH}, {"sha256_prefix": HASH[:8]}, {}])
def test_published_file_comes_once_and_is_watched(server: Server, tmp_path: Path, hashes: dict[str, str]) -> None:
    entry = _entry(server.url, **hashes)
    path = fetch_published(entry, tmp_path)
    assert fetch_published(entry, tmp_path) == path
    assert len(server.ranges) == 1
    path.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(WeightsError, match="has changed since it was verified"):
        fetch_published(entry, tmp_path)


def test_first_use_without_a_published_hash_is_said_and_recorded(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    entry = _entry(server.url)
    with caplog.at_level("INFO", "saccade"):
        path = fetch_published(entry, tmp_path)
    assert f"recorded sha256 {HASH}" in caplog.text
    path.unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(WeightsError, match=f"expected {HASH}"):
        fetch_published(entry, tmp_path)


def test_published_prefix_is_checked(server: Server, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="expected deadbeef"):
        fetch_published(_entry(server.url, sha256_prefix="deadbeef"), tmp_path)
    assert _names(tmp_path) == []


def test_cache_is_where_the_user_wants_it(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path))
    assert fetch_published(_entry(server.url)).parent == tmp_path / "weights"


# Builders that torchvision has under another name.
THEIR_NAMES = {"googlenet_bn": "googlenet"}


def create_model_on_meta(name: str, **arguments: Any) -> Model:
    with torch.device("meta"):
        return create_model(name, **arguments)


def test_table_agrees_with_torchvision_and_the_registry() -> None:
    """Every fact of the rows that lie on torchvision's server is in torchvision's own metadata."""
    import torchvision.models as tv

    from saccade.models.registry import get_builder
    from saccade.weights.layouts import layouts

    names = {layout.NAME for layout in layouts()}
    for key, entry in PUBLISHED.items():
        assert key == f"{entry.builder}/{entry.name}"
        assert "weights" in get_builder(entry.builder).parameters
        assert entry.layout in names
        assert sum(map(bool, entry.class_names())) == entry.num_classes
        if entry.url.startswith("https://download.pytorch.org/"):
            weights = tv.get_model_weights(THEIR_NAMES.get(entry.builder, entry.builder))
            (theirs,) = [one for one in weights if one.url == entry.url]
            (metrics,) = theirs.meta["_metrics"].values()
            assert list(entry.claimed.values()) == list(metrics.values())
            assert entry.sha256_prefix is not None
            assert f"-{entry.sha256_prefix}." in entry.url
            if get_builder(entry.builder).task != "classification":
                continue  # the metadata has no rules of input
            transforms = theirs.transforms()
            model = create_model_on_meta(entry.builder, **entry.arguments)
            spec = dataclasses.replace(model.input_spec, **entry.preprocessing)
            crop, resize = transforms.crop_size[0], transforms.resize_size[0]
            assert spec.size == (crop, crop)
            assert spec.crop_fraction == pytest.approx(crop / resize)
            # Torchvision's GoogLeNet turns what it gets into pixels of -1..1 itself (transform_input).
            half = entry.builder == "googlenet_bn"
            assert [value / 255 for value in spec.mean] == pytest.approx([0.5] * 3 if half else transforms.mean)
            assert [value / 255 for value in spec.std] == pytest.approx([0.5] * 3 if half else transforms.std)
