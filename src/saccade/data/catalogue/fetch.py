"""Download of a data set of the catalogue: verified, unpacked, and in its folder whole or not at all.

Archives are downloaded to ``.NAME.download`` beside the data set's folder, where the next call resumes after an
interruption. They are unpacked into another folder, which is renamed only when everything is in it. Archives are not
trusted: names may not leave the folder, links and devices are refused, and sizes are limited.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol, cast

from saccade.data.catalogue.catalogue import CATALOGUE, CatalogueEntry, RemoteFile, cache_folder, is_present, locate
from saccade.data.readers._common import check_name
from saccade.errors import DataError, SaccadeError, did_you_mean

__all__ = ["Download", "Progress", "fetch", "unpack"]

# Called with bytes done and bytes in all.
Progress = Callable[[int, int], None]

_CHUNK = 1 << 20
# An archive of images grows by little when it is unpacked; this leaves room for label maps and text.
_GROWTH = 50
_MAX_FILES = 10_000_000


class Download(Protocol):
    """Function that downloads one file.

    It is ``saccade.weights.download.download``, which lives in a room above this one and is therefore passed in.
    """

    def __call__(
        self, url: str, path: Path, sha256: str | None = None, progress: Callable[[int, int | None], None] | None = None
    ) -> str:
        """Download a file to ``path``, resuming where possible, verify it and return its hash."""
        ...


def fetch(name: str, folder: str | Path | None = None, progress: Progress | None = None, *, download: Download) -> Path:
    """Download a data set of the catalogue, unless it is on this machine already.

    Args:
        name: Name in the catalogue.
        folder: Parent of its folder; if not given the cache, and then only if the data set is nowhere else.
        progress: Called with the bytes downloaded so far and in all.
        download: Downloads one file.

    Returns:
        Folder of the data set.

    Raises:
        DataError: If the name is unknown or there is no download for it, the server cannot be reached, the file that
            it sends is not the published one, an archive is damaged or hostile, or the disk is full.

    Example:
        >>> fetch("summer2winter", "data", download=saccade.weights.download.download)  # doctest: +SKIP
        PosixPath('data/summer2winter')
    """
    if name not in CATALOGUE:
        raise DataError(f"there is no data set '{name}' in the catalogue.{did_you_mean(name, CATALOGUE)}")
    entry = CATALOGUE[name]
    if folder is None and (entry.reader == "generated" or is_present(name)):
        return locate(name)
    target = (cache_folder() if folder is None else Path(folder).expanduser()) / name
    if target.is_dir():
        return target
    if not entry.files:
        raise DataError(
            f"data set '{name}': no address with a known hash exists to download it from. "
            f"Get it from {entry.url} (licence: {entry.licence}), and put it at '{target}'."
        )
    try:
        _fetch(entry, target, progress, download)
    except OSError as error:
        raise DataError(
            f"{error.filename or target}: {error.strerror or error}. Free some space, or choose another folder; "
            "what has arrived is kept, and the next try resumes there."
        ) from error
    return target


def _fetch(entry: CatalogueEntry, target: Path, progress: Progress | None, download: Download) -> None:
    arrivals = target.parent / f".{entry.name}.download"
    arrivals.mkdir(parents=True, exist_ok=True)
    total, done = sum(file.size for file in entry.files), 0
    free = shutil.disk_usage(arrivals).free
    if free < total:
        raise DataError(f"{arrivals}: {free:,} bytes are free, the download needs {total:,}. Free some space.")
    for file in entry.files:
        _download_verified(file, arrivals / file.file_name, download, _offset_progress(progress, done, total))
        done += file.size
    with tempfile.TemporaryDirectory(prefix=f".{entry.name}.", dir=target.parent) as temporary:
        whole = Path(temporary) / "whole"
        whole.mkdir()
        for file in entry.files:
            arrived = arrivals / file.file_name
            if file.unpack:
                unpack(arrived, whole, max_bytes=_GROWTH * file.size)
            else:
                shutil.copyfile(arrived, whole / file.file_name)
        if target.is_dir():  # another process was faster
            return
        _innermost(whole).rename(target)
    shutil.rmtree(arrivals, ignore_errors=True)


def _download_verified(
    file: RemoteFile, path: Path, download: Download, progress: Callable[[int, int | None], None] | None
) -> None:
    """Download one file and verify it; one that is there already, from an earlier call or by hand, is verified too."""
    if path.is_file():
        found = _sha256_of(path)
        if found != file.sha256:
            raise DataError(
                f"{path}: sha256 is {found}, expected {file.sha256}: this is not the published file. Remove it, and "
                "ask again to download it."
            )
        return
    try:
        download(file.url, path, file.sha256, progress)
    except DataError:
        raise
    except SaccadeError as error:
        raise DataError(str(error)) from error


def _offset_progress(progress: Progress | None, before: int, total: int) -> Callable[[int, int | None], None] | None:
    """Progress callback of one file that reports the progress of all files."""
    if progress is None:
        return None
    return lambda done, _: progress(before + done, total)


def _innermost(folder: Path) -> Path:
    """Folder that holds the files, below the single folders in which many archives wrap them."""
    entries = list(folder.iterdir())
    return _innermost(entries[0]) if len(entries) == 1 and entries[0].is_dir() else folder


def _sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def unpack(archive: Path, folder: Path, max_bytes: int, max_files: int = _MAX_FILES) -> None:
    """Unpack a zip, a tar (plain, gz, bz2, xz) or a single gz file that is not trusted.

    Args:
        archive: The file.
        folder: Folder that receives its files; existing files are not replaced.
        max_bytes: Largest size of all files together.
        max_files: Largest number of files.

    Raises:
        DataError: If the archive is damaged, of no known kind or too large, holds a name that leaves the folder, or
            anything but files and folders. ``folder`` may then hold some of its files.

    Example:
        >>> import zipfile
        >>> with zipfile.ZipFile("birds.zip", "w") as archive:
        ...     archive.writestr("train/a.txt", "wren")
        >>> unpack(Path("birds.zip"), Path("birds"), max_bytes=100)
        >>> Path("birds/train/a.txt").read_text()
        'wren'
    """
    try:
        number, left = -1, max_bytes
        for number, (name, stream) in enumerate(_members(archive)):
            if number >= max_files:
                raise DataError(f"{archive}: it holds more than {max_files:,} files. Do not use it.")
            target = folder / check_name(name, archive, "a name in it")
            target.parent.mkdir(parents=True, exist_ok=True)
            with stream, target.open("xb") as file:
                while chunk := stream.read(min(_CHUNK, left + 1)):
                    left -= len(chunk)
                    if left < 0:
                        raise DataError(f"{archive}: unpacked it exceeds {max_bytes:,} bytes. Do not use it.")
                    file.write(chunk)
        if number < 0:
            raise DataError(f"{archive}: there is no file in it. Remove it, and download it again.")
    except FileExistsError as error:
        raise DataError(f"{archive}: it holds '{error.filename}' twice. Do not use it.") from error
    except NotADirectoryError as error:
        raise DataError(f"{archive}: '{error.filename}' is a file and a folder in it. Do not use it.") from error
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise DataError(f"{archive}: the archive is damaged ({error}). Remove it, and download it again.") from error
    except (NotImplementedError, RuntimeError) as error:  # an unknown method of packing, encryption
        raise DataError(f"{archive}: the archive cannot be unpacked ({error}). Unpack it by hand.") from error


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each file in an archive."""
    if zipfile.is_zipfile(archive):
        yield from _zip_members(archive)
    elif tarfile.is_tarfile(archive):
        yield from _tar_members(archive)
    elif archive.suffix == ".gz":
        with gzip.open(archive) as stream:
            yield archive.stem, cast(IO[bytes], stream)
    else:
        raise DataError(f"{archive}: this is no zip, tar or gz file. Remove it, and download it again.")


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as source:
        for member in source.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DataError(f"{archive}: '{member.filename}' in it is a link or a device. Do not use it.")
            if not member.is_dir():
                yield member.filename, source.open(member)


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive) as source:
        for member in source:
            if member.isdir():
                continue
            stream = source.extractfile(member) if member.isreg() else None
            if stream is None:
                raise DataError(f"{archive}: '{member.name}' in it is a link or a device. Do not use it.")
            yield member.name.removeprefix("./"), stream
