"""Files made to do harm: none leads out of the data folder, unpacks into memory, hangs, or speaks for another file."""

from __future__ import annotations

import gzip
import json
import os
import struct
import threading
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from tests.data.fuzz import limited_memory, use
from tests.data.specimens import SPECIMENS, coco, encode, photograph, put

from saccade.data.open import open_raw

BY_NAME = {specimen.name: specimen for specimen in SPECIMENS}
SECRET = "the-secret-of-another-file"


def refused(source: Path, *words: str, split: str = "all", reader: str | None = None) -> str:
    """The error with which a hostile file is refused; it must hold the words."""
    with limited_memory():
        text = use(source, split, reader)
    assert text, "it was loaded"
    for word in words:
        assert word in text, text
    return text


# ------------------------------------------------------------------------------------------------------------- XML

BILLION_LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE z [<!ENTITY a0 "ha">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 12))
    + "]><ROOT><object><name>&a11;</name></object></ROOT>"
)


@pytest.mark.parametrize(("name", "root"), [("voc xml", "annotation"), ("cvat xml", "annotations")])
def test_no_entity_is_expanded(name: str, root: str, tmp_path: Path) -> None:
    specimen = BY_NAME[name]
    specimen.build(tmp_path / "data")
    secret = tmp_path / "secret.txt"
    secret.write_text(SECRET)
    external = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "{secret.as_uri()}">]><ROOT>&e;</ROOT>'
    parameter = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY % e SYSTEM "{secret.as_uri()}"> %e;]><ROOT/>'
    file = tmp_path / "data" / specimen.file
    for text in (BILLION_LAUGHS, external, parameter):
        file.write_text(text.replace("ROOT", root))
        found = refused(tmp_path / "data", str(file), split=specimen.split, reader=specimen.format)
        assert SECRET not in found
        assert "haha" not in found


@pytest.mark.parametrize(("name", "root"), [("voc xml", "annotation"), ("cvat xml", "annotations")])
def test_xml_nested_deeply(name: str, root: str, tmp_path: Path) -> None:
    specimen = BY_NAME[name]
    specimen.build(tmp_path)
    file = tmp_path / specimen.file
    tag = "image" if specimen.format == "cvat" else "object"
    file.write_text(f"<{root}>" + f"<{tag}>" * 100_000 + f"</{tag}>" * 100_000 + f"</{root}>")
    refused(tmp_path, str(file), split=specimen.split, reader=specimen.format)


# -------------------------------------------------------------------------------------------------------- images


def png(width: int, height: int, pixels: bytes = b"", colour: int = 2) -> bytes:
    """A PNG with any header and any compressed content."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(768)) if colour == 3 else b""
    body = chunk(b"IHDR", head) + palette + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def tiff(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """A little-endian TIFF with one directory of (tag, type, count, value)."""
    fields = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + fields + struct.pack("<I", following)


BOMBS = {
    "png": png(100_000, 100_000, bytes(10_000)),
    "png of zero width": png(0, 100),
    "png of negative size": png(0xFFFFFFFF, 0x80000000),
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 100_000, 100_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0) + bytes(6) + b"\x3b",
    "ppm": b"P6\n100000 100000\n255\n" + bytes(100),
    "pgm with a number without end": b"P5\n" + b"9" * 5000 + b" 1\n255\n",
    "tiff": tiff((256, 4, 1, 100_000), (257, 4, 1, 100_000), (258, 3, 1, 8), (262, 3, 1, 1)),
    "tiff that points at itself": tiff((256, 4, 1, 10), (257, 4, 1, 10), following=8),
    "tiff of endless fields": tiff((256, 4, 0xFFFFFFFF, 8), (257, 4, 0xFFFFFFFF, 8), (273, 4, 0xFFFFFFFF, 8)),
    "webp": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xff" * 6,
    "jpeg": b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 17, 8, 65_535, 65_535, 3) + bytes(9) + b"\xff\xd9",
    "nothing": b"",
    "text": b"this is not an image",
}


@pytest.mark.parametrize("content", BOMBS.values(), ids=BOMBS)
def test_images_of_absurd_size_are_refused_before_they_are_decoded(content: bytes, tmp_path: Path) -> None:
    put(tmp_path / "cat" / "x.png", content)
    refused(tmp_path, str(tmp_path / "cat" / "x.png"), reader="folder")


@pytest.mark.parametrize("colour", [0, 3], ids=["grey", "palette"])
@pytest.mark.parametrize("name", ["palette mask", "instance mask"])
def test_label_maps_of_absurd_size_are_refused_too(name: str, colour: int, tmp_path: Path) -> None:
    specimen = BY_NAME[name]
    specimen.build(tmp_path)
    put(tmp_path / specimen.file, png(100_000, 100_000, bytes(10_000), colour))
    refused(tmp_path, str(tmp_path / specimen.file), reader=specimen.format)


def test_what_lies_behind_the_last_row_of_a_image_is_not_unpacked(tmp_path: Path) -> None:
    packed, size = zlib.compressobj(), 500 << 20  # in 500 kB
    head, block = packed.compress(b"") + packed.flush(zlib.Z_FULL_FLUSH), packed.compress(bytes(1 << 20))
    checksum = struct.pack(">I", size % 65521 << 16 | 1)  # Adler-32 of zeros
    body = head + (block + packed.flush(zlib.Z_FULL_FLUSH)) * 500 + b"\x03\0" + checksum
    content = png(10, 10)
    start = content.index(b"IDAT") - 4
    chunk = struct.pack(">I", len(body)) + b"IDAT" + body + struct.pack(">I", zlib.crc32(b"IDAT" + body))
    put(tmp_path / "cat" / "x.png", content[:start] + chunk + content[content.index(b"IEND") - 4 :])
    with limited_memory(200 << 20):
        assert use(tmp_path, reader="folder") == ""
    assert not open_raw(tmp_path, "all", format="folder").read(0).image.any()


# -------------------------------------------------------------------------------------------------------- archives


def test_gzip_bombs_are_not_unpacked(tmp_path: Path) -> None:
    specimen = BY_NAME["idx, gzipped"]
    specimen.build(tmp_path)
    file = tmp_path / specimen.file
    zeros = gzip.compress(bytes(1 << 20)) * 3000
    file.write_bytes(gzip.compress(struct.pack(">HBBIII", 0, 8, 3, 2**31, 28, 28)) + zeros)
    refused(tmp_path, str(file), split="train")
    # As many as the header declares are read, and no more.
    file.write_bytes(gzip.compress(struct.pack(">HBBIII", 0, 8, 3, 3, 20, 28)) + zeros)
    with limited_memory():
        assert use(tmp_path, "train") == ""
    assert not open_raw(tmp_path, "train").read(0).image.any()


@pytest.mark.parametrize(("declared", "word"), [(2 << 30, "limit"), (100, "damaged")])
def test_zip_bombs_are_not_unpacked(declared: int, word: str, tmp_path: Path) -> None:
    file = tmp_path / "pets.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cat/x.png", bytes(400 << 20), compresslevel=1)
    content = bytearray(file.read_bytes())
    struct.pack_into("<I", content, content.rindex(b"PK\x01\x02") + 24, declared)  # whatever is in it
    file.write_bytes(content)
    with limited_memory(200 << 20):
        refused(file, str(file), word, reader="folder")


@pytest.mark.parametrize("name", ["../../etc/passwd.jpg", "/etc/passwd.jpg", "cat/../../x.jpg", "C:\\x.jpg"])
def test_no_name_in_a_zip_leaves_it(name: str, tmp_path: Path) -> None:
    file = tmp_path / "pets.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("cat/x.jpg", b"x")
        archive.writestr(name, b"x")
    refused(file, str(file), "inside the data folder", reader="folder")


# ---------------------------------------------------------------------------------------------------- JSON and YAML


@pytest.mark.parametrize("depth", [1_000, 100_000])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
@pytest.mark.parametrize("name", ["coco json", "labelme json"])
def test_json_nested_deeply(name: str, brackets: tuple[str, str], depth: int, tmp_path: Path) -> None:
    specimen = BY_NAME[name]
    specimen.build(tmp_path)
    file = tmp_path / specimen.file
    nested = brackets[0] * depth + "1" + brackets[1] * depth
    for text in (nested, *(f'{{"{key}": {nested}}}' for key in ("images", "annotations", "shapes", "imagePath"))):
        file.write_text(text)
        refused(tmp_path, str(file), split=specimen.split, reader=specimen.format)
    valid = json.dumps({"info": 0, "flags": 0, **(coco() if specimen.format == "coco" else {})})
    file.write_text(valid.replace("0", nested, 1))
    with limited_memory():
        use(tmp_path, specimen.split, specimen.format)


@pytest.mark.parametrize(
    ("name", "text"),
    [("options", "format: masks\nclass_names: VALUE\n"), ("yolo yaml", "names: VALUE\ntrain: images/train\n")],
)
def test_yaml_that_grows_runs_or_never_ends(name: str, text: str, tmp_path: Path) -> None:
    specimen = BY_NAME[name]
    specimen.build(tmp_path)
    laughs = [f"&a0 [{', '.join(['ha'] * 9)}]", *(f"&a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12))]
    for value in (
        f"[{', '.join(laughs)}]",
        "[" * 100_000,
        "&a [*a]",
        "&a {*a : *a}",
    ):
        (tmp_path / specimen.file).write_text(text.replace("VALUE", value))
        refused(tmp_path, str(tmp_path / specimen.file), split="train", reader=specimen.format)
    made = tmp_path / "made-by-yaml"
    (tmp_path / specimen.file).write_text(text.replace("VALUE", f"!!python/object/apply:os.mkdir ['{made}']"))
    use(tmp_path, "train", specimen.format)  # refused, or taken for a list of one name
    assert not made.exists()


# ----------------------------------------------------------------------------------------------------------- names

LEADING_OUT = (
    "../secret.jpg",
    "a/../../secret.jpg",
    "images/../../secret.jpg",
    "..\\secret.jpg",
    "/etc/passwd",
    "//host/share/x.jpg",
    "C:\\secret.jpg",
    "C:/secret.jpg",
    "C:secret.jpg",
    "\\\\host\\share\\x.jpg",
    "SECRET",  # its absolute path
)
STRANGE = (
    "a\0.jpg",
    "",
    ".",
    "..",
    "a" * 5000 + ".jpg",
    "a/" * 3000 + "x.jpg",
    "\ud800.jpg",
    "a\n.jpg",
    "猫" * 2000 + ".jpg",
    " ",
    "{0}{stem}%s.jpg",
    "1\u00b22.jpg",
)


def name_image(kind: str, root: Path, name: str) -> None:
    """Write a data set whose annotations name an image; there is no other."""
    specimen = BY_NAME[kind]
    specimen.build(root)
    file, raw = root / specimen.file, name.encode("utf-8", "surrogatepass")
    text = file.read_bytes()
    if file.suffix == ".json":
        text = text.replace(b'"a.jpg"', json.dumps(name).encode())
    elif kind == "voc list":
        text = raw + b"\n"
    else:
        text = text.replace(b"a.jpg", raw.replace(b"&", b"&amp;")).replace(b"a1,", raw + b",")
    file.write_bytes(text)
    for image in (*root.rglob("a.jpg"), *root.rglob("a1.jpg")):
        image.unlink()


@pytest.mark.parametrize(
    "kind", ["coco json", "voc xml", "voc list", "keypoint csv", "csv", "cvat xml", "labelme json", "openimages csv"]
)
def test_no_name_leads_out_of_the_data_folder(kind: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.jpg"
    put(secret, encode(".jpg", np.zeros((7, 9, 3), np.uint8)))
    specimen = BY_NAME[kind]
    for number, name in enumerate((*LEADING_OUT, *STRANGE)):
        root = tmp_path / str(number)
        name_image(kind, root, str(secret) if name == "SECRET" else name)
        text = use(root, specimen.split, specimen.format)
        assert text, f"{name!r} was taken for an image"
        if name in LEADING_OUT and kind in ("coco json", "voc xml", "voc list", "cvat xml"):
            assert str(root / specimen.file) in text, (name, text)


def test_options_with_absurd_names_are_refused(tmp_path: Path) -> None:
    specimen = BY_NAME["options"]
    specimen.build(tmp_path)
    for name in ("a" * 5000, "a/" * 3000, "images\0", "nothing-there"):
        text = f"format: masks\nimage_dir: {json.dumps(name)}\nlabel_dir: masks\n"
        put(tmp_path / "saccade.yaml", text)
        refused(tmp_path, str(tmp_path))


def test_files_of_a_folder_may_be_called_anything(tmp_path: Path) -> None:
    names = ["a space.jpg", "猫.jpg", "{stem}.jpg", "%s.jpg", "a'b\"c.jpg", "-rf.jpg", "ä" * 100 + ".jpg", "a\nb.jpg"]
    for name in names:
        put(tmp_path / "cat" / name, encode(".jpg", photograph()))
    assert use(tmp_path, reader="folder") == ""
    assert len(open_raw(tmp_path, "all", format="folder")) == len(names)


def test_a_file_name_that_is_no_text_is_named(tmp_path: Path) -> None:
    put(tmp_path / "cat" / os.fsdecode(b"latin-\xe4.jpg"), encode(".jpg", photograph()))
    refused(tmp_path, str(tmp_path / "cat"), "latin-", reader="folder")


def test_links_that_lead_nowhere_or_in_circles(tmp_path: Path) -> None:
    root = tmp_path / "data"
    BY_NAME["jpeg"].build(root)
    count = len(open_raw(root, "all", format="folder"))
    (root / "cat" / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    (root / "cat" / "circle.jpg").symlink_to(root / "cat" / "circle.jpg")
    (root / "cat" / "up").symlink_to(root)
    (root / "cat" / "folder.jpg").mkdir()
    assert use(root, reader="folder") == ""
    assert len(open_raw(root, "all", format="folder")) == count


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    BY_NAME["jpeg"].build(tmp_path)
    for name in ("cat/pipe.jpg", "saccade.yaml", "data.yaml", "points.csv", "train.json"):
        os.mkfifo(tmp_path / name)
    worker = threading.Thread(target=use, args=(tmp_path,), daemon=True)
    worker.start()
    worker.join(20)
    assert not worker.is_alive()
