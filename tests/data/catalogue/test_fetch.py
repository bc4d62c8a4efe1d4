"""Downloads of data sets from a server on loopback, whole and interrupted, and hostile archives."""

from __future__ import annotations

import gzip
import hashlib
import io
import stat
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saccade.data.catalogue import catalogue
from saccade.data.catalogue import fetch as module
from saccade.data.catalogue.catalogue import CATALOGUE, RemoteFile, locate
from saccade.data.catalogue.fetch import fetch, unpack
from saccade.errors import DataError
from saccade.weights.download import download

NOISE = np.random.default_rng(0).bytes(400_000)


def zip_of(files: dict[str, bytes], **options: Any) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return stream.getvalue()


def tar_of(files: dict[str, bytes], mode: Any = "w:gz", extra: Callable[[Any], None] | None = None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as target:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            target.addfile(member, io.BytesIO(content))
        if extra is not None:
            extra(target)
    return stream.getvalue()


IMAGES = {"pets/train/cat/1.png": b"cat" + NOISE, "pets/train/dog/1.png": b"dog", "pets/readme.txt": b"read me"}


@dataclass
class Server:
    """What the loopback server has, and what it was asked."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)  # bytes after which a response breaks off, one for each request
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def offer(self, name: str, content: bytes, unpack: bool = True) -> RemoteFile:
        self.files[f"/{name}"] = content
        return RemoteFile(f"{self.address}/{name}", hashlib.sha256(content).hexdigest(), len(content), unpack)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("SACCADE_DATA", raising=False)
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / "cache"))
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append((self.path, wanted))
            content = state.files.get(self.path)
            if content is None:
                self.send_error(404)
                return
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            body = content[start:]
            self.wfile.write(body[: state.cuts.pop(0)] if state.cuts else body)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.address = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a data set ``pets`` into the catalogue."""

    def put(*files: RemoteFile) -> None:
        entry = replace(CATALOGUE["intel_scenes"], name="pets", files=files)
        monkeypatch.setitem(catalogue.CATALOGUE, "pets", entry)

    return put


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


UNPACKED = {name.removeprefix("pets/"): content for name, content in IMAGES.items()}


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_comes_and_is_unpacked(server: Server, offer: Any, tmp_path: Path, kind: str) -> None:
    content = zip_of(IMAGES) if kind == "zip" else tar_of(IMAGES, f"w:{kind.removeprefix('tar').lstrip('.')}")
    offer(server.offer(f"pets.{kind}", content))
    seen: list[tuple[int, int]] = []
    found = fetch("pets", progress=lambda done, total: seen.append((done, total)), download=download)
    assert found == locate("pets") == tmp_path / "cache" / "data" / "pets"
    assert tree(found) == UNPACKED
    assert seen[-1] == (len(content), len(content))
    assert [path.name for path in found.parent.iterdir()] == ["pets"]
    assert fetch("pets", download=download) == found
    assert len(server.asked) == 1


def test_files_that_are_read_as_they_are(server: Server, offer: Any, tmp_path: Path) -> None:
    files = {"train-images-idx3-ubyte.gz": gzip.compress(NOISE), "b.zip": zip_of({"x/1.png": b"1"})}
    offer(*(server.offer(name, content, unpack=False) for name, content in files.items()))
    seen: list[tuple[int, int]] = []
    found = fetch("pets", tmp_path / "mine", lambda done, total: seen.append((done, total)), download=download)
    assert found == tmp_path / "mine" / "pets"
    assert tree(found) == files
    total = sum(map(len, files.values()))
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_an_interrupted_download_goes_on(server: Server, offer: Any, tmp_path: Path) -> None:
    content = zip_of(IMAGES)
    offer(server.offer("first.gz", gzip.compress(b"first")), server.offer("pets.zip", content))
    data = tmp_path / "cache" / "data"

    def stop(done: int, total: int) -> None:
        if done > 100_000:
            raise KeyboardInterrupt

    server.cuts = [10**9, 300_000]
    with pytest.raises(KeyboardInterrupt):
        fetch("pets", progress=stop, download=download)
    assert not (data / "pets").exists()
    arrived = (data / ".pets.download" / "pets.zip.part").stat().st_size
    assert 0 < arrived < len(content)
    server.cuts = [100_000]  # and the connection breaks once more
    assert set(tree(fetch("pets", download=download))) == {"first", *IMAGES}
    assert [name for name, _ in server.asked].count("/first.gz") == 1
    assert server.asked[2:] == [("/pets.zip", f"bytes={arrived}-"), ("/pets.zip", f"bytes={arrived + 100_000}-")]
    assert [path.name for path in data.iterdir()] == ["pets"]


def test_a_wrong_hash_leaves_nothing(server: Server, offer: Any, tmp_path: Path) -> None:
    remote = server.offer("pets.zip", zip_of(IMAGES))
    offer(remote)
    server.files["/pets.zip"] = zip_of({**IMAGES, "pets/evil.png": b"evil"})
    with pytest.raises(DataError, match=rf"sha256 .* expected {remote.sha256}.*was removed"):
        fetch("pets", download=download)
    assert tree(tmp_path / "cache") == {}
    server.files["/pets.zip"] = zip_of(IMAGES)
    assert tree(fetch("pets", download=download)) == UNPACKED


def test_a_file_put_there_by_hand_is_taken_if_it_is_the_one(server: Server, offer: Any, tmp_path: Path) -> None:
    content = zip_of(IMAGES)
    remote = server.offer("pets.zip", content)
    server.files.clear()
    offer(remote)
    with pytest.raises(DataError, match=r"the server answered 404.*put the file at '.*/\.pets\.download/pets\.zip'"):
        fetch("pets", download=download)
    archive = tmp_path / "cache/data/.pets.download/pets.zip"
    archive.write_bytes(content[:-1])
    with pytest.raises(DataError, match=r"pets\.zip: sha256 is .* not the published file\. Remove it"):
        fetch("pets", download=download)
    archive.write_bytes(content)
    assert tree(fetch("pets", download=download)) == UNPACKED


@pytest.mark.parametrize(
    "content", [b"no archive", zip_of(IMAGES)[:-40], tar_of(IMAGES)[:-3000]], ids=["none", "zip", "tar"]
)
def test_a_damaged_archive_never_becomes_a_data_set(server: Server, offer: Any, tmp_path: Path, content: bytes) -> None:
    offer(server.offer("pets.bin", content))
    with pytest.raises(DataError, match=r"pets\.bin: (this is no zip|the archive is damaged)"):
        fetch("pets", download=download)
    assert [path.name for path in (tmp_path / "cache/data").iterdir()] == [".pets.download"]


def test_a_stop_while_unpacking_leaves_no_half(
    server: Server, offer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer(server.offer("pets.zip", zip_of(IMAGES)))
    whole = module.check_name
    calls: list[str] = []

    def stop(name: str, *args: Any) -> str:
        calls.append(name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(name, *args)

    monkeypatch.setattr(module, "check_name", stop)
    with pytest.raises(KeyboardInterrupt):
        fetch("pets", download=download)
    assert [path.name for path in (tmp_path / "cache/data").iterdir()] == [".pets.download"]
    assert tree(fetch("pets", download=download)) == UNPACKED
    assert len(server.asked) == 1


def test_what_cannot_be_fetched_is_named_with_its_source(server: Server, offer: Any, tmp_path: Path) -> None:
    offer()
    with pytest.raises(DataError, match=r"'pets': no address with a known hash.*kaggle.*put it at '.*/data/pets'"):
        fetch("pets", download=download)
    with pytest.raises(DataError, match=r"no data set 'minst' in the catalogue\. Did you mean 'mnist'"):
        fetch("minst", download=download)
    with pytest.raises(DataError, match="made on the fly"):
        fetch("digit_scenes", download=download)
    offer(server.offer("pets.zip", zip_of(IMAGES)))
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"/file.*Free some space, or choose another folder"):
        fetch("pets", tmp_path / "file", download=download)


def test_a_disk_without_room_is_named_first(server: Server, offer: Any) -> None:
    offer(replace(server.offer("pets.zip", b"x"), size=1 << 60))
    with pytest.raises(DataError, match=r"bytes are free, the download needs 1,152,921,504,606,846,976"):
        fetch("pets", download=download)
    assert server.asked == []


def link(kind: bytes) -> Callable[[Any], None]:
    def add(target: Any) -> None:
        member = tarfile.TarInfo("pets/link")
        member.type, member.linkname = kind, "/etc/passwd"
        target.addfile(member)

    return add


def zip_link() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as target:
        member = zipfile.ZipInfo("pets/link")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        target.writestr(member, "/etc/passwd")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (zip_of({"../evil": b"x"}), "which is not a file inside"),
        (zip_of({"/evil": b"x"}), "which is not a file inside"),
        (zip_of({"a/..\\..\\evil": b"x"}), "which is not a file inside"),
        (tar_of({"../evil": b"x"}), "which is not a file inside"),
        (tar_of({"/evil": b"x"}), "which is not a file inside"),
        (tar_of({}, extra=link(tarfile.SYMTYPE)), "'pets/link' in it is a link or a device"),
        (tar_of({}, extra=link(tarfile.LNKTYPE)), "'pets/link' in it is a link or a device"),
        (tar_of({}, extra=link(tarfile.FIFOTYPE)), "'pets/link' in it is a link or a device"),
        (tar_of({}, extra=link(tarfile.CHRTYPE)), "'pets/link' in it is a link or a device"),
        (zip_link(), "'pets/link' in it is a link or a device"),
        (zip_of({"bomb": b"\0" * 2_000_000}, compression=zipfile.ZIP_DEFLATED), "exceeds 1,000,000 bytes"),
        (tar_of({"bomb": b"\0" * 2_000_000}), "exceeds 1,000,000 bytes"),
        (gzip.compress(b"\1" * 2_000_000), "exceeds 1,000,000 bytes"),
        (zip_of({}), "there is no file in it"),
        (tar_of({}), "there is no file in it"),
        (zip_of({str(number): b"" for number in range(12)}), "more than 10 files"),
        (tar_of({"a": b"1", "a/b": b"2"}), "twice"),
        (tar_of({"a": b"1", "a/b/c": b"2"}), "a file and a folder"),
    ],
    ids=[str(number) for number in range(18)],  # archives hold the time at which they were made
)
def test_hostile_archives_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    inside = tmp_path / "deep" / "inside"
    inside.mkdir(parents=True)
    file = tmp_path / "deep" / "a.gz"
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        unpack(file, inside, max_bytes=1_000_000, max_files=10)
    assert {path.name for path in tmp_path.rglob("*")} <= {"deep", "inside", "a.gz", "a", "bomb", *map(str, range(10))}
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))
    assert sum(path.stat().st_size for path in inside.rglob("*") if path.is_file()) <= 1_000_000


def test_a_name_given_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.tar"
    file.write_bytes(tar_of({"1.png": b"1"}, "w", lambda target: target.addfile(tarfile.TarInfo("1.png"))))
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match=r"it holds '.*1\.png' twice"):
        unpack(file, tmp_path / "out", max_bytes=1000)


def test_a_single_gz_file_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "table.csv.gz").write_bytes(gzip.compress(b"a,b"))
    (tmp_path / "out").mkdir()
    unpack(tmp_path / "table.csv.gz", tmp_path / "out", max_bytes=3)
    assert tree(tmp_path / "out") == {"table.csv": b"a,b"}
