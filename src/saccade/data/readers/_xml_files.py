"""Shared parts of the readers of XML: parsing that refuses document types and entities, numbers, and plain values."""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from defusedxml import ElementTree
from defusedxml.common import DefusedXmlException

from saccade.data.images.decode import MAX_PIXELS
from saccade.data.readers._faults import FieldError
from saccade.errors import DataError
from saccade.structures.reading import require_regular
from saccade.structures.text import printable

__all__ = ["begins_with", "children", "image_size", "number", "parse_elements", "parse_xml", "plain_value"]

_START = 4096  # bytes
_LARGEST = 64 << 20  # of the annotation of one image
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]+)?")


def begins_with(path: Path, tag: str) -> bool:
    """Whether the first element of a file is ``tag``; only its first bytes are read.

    Example:
        >>> _ = Path("a.xml").write_text("<annotation><size/></annotation>")
        >>> begins_with(Path("a.xml"), "annotation")
        True
    """
    try:
        require_regular(path)
        with path.open("rb") as stream:
            start = stream.read(_START)
    except (OSError, DataError):
        return False
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        start = start.decode("utf-16", errors="ignore").encode(errors="ignore")
    found = re.search(rb"<([A-Za-z_][\w.-]*)", re.sub(rb"<!--.*?-->", b"", start, flags=re.DOTALL))
    return found is not None and found[1] == tag.encode()


def parse_xml(path: Path, root: str) -> Element:
    """Root element of a small file.

    Args:
        path: File.
        root: Name that the root element must have.

    Raises:
        DataError: If the file is missing, not valid XML, declares a document type or entities, or is another document.

    Example:
        >>> _ = Path("a.xml").write_text("<annotation><filename>a.jpg</filename></annotation>")
        >>> parse_xml(Path("a.xml"), "annotation").findtext("filename")
        'a.jpg'
    """
    with _named_errors(path):
        require_regular(path, _LARGEST)
        tree = ElementTree.parse(path, forbid_dtd=True).getroot()
    assert tree is not None, "a parsed document has a root"
    if tree.tag != root:
        message = f"the first element is '{printable(tree.tag, limit=80)}', not '{root}'. Write or copy the file again."
        raise FieldError("labels.unreadable", str(path), message)
    return tree


def parse_elements(path: Path, tags: Collection[str], root: str) -> Iterator[Element]:
    """Elements of some names directly below the root, one by one; each is emptied when the next is read.

    Args:
        path: File, which may be large.
        tags: Names of the elements.
        root: Name that the root element must have.

    Raises:
        DataError: As :func:`parse_xml`.

    Example:
        >>> _ = Path("a.xml").write_text('<annotations><image id="0"/><image id="1"/></annotations>')
        >>> [element.get("id") for element in parse_elements(Path("a.xml"), ["image"], "annotations")]
        ['0', '1']
    """
    depth = 0
    require_regular(path)
    with _named_errors(path), path.open("rb") as stream:
        for event, element in ElementTree.iterparse(stream, events=("start", "end"), forbid_dtd=True):
            if event == "start":
                if depth == 0 and element.tag != root:
                    raise DataError(
                        f"{path}: the first element is '{printable(element.tag, limit=80)}', not '{root}'. "
                        "Write or copy the file again."
                    )
                depth += 1
                continue
            depth -= 1
            if depth == 1:
                if element.tag in tags:
                    yield element
                element.clear()


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except DefusedXmlException as error:
        message = "the XML declares a document type or entities, which are not read. Remove them."
        raise FieldError("labels.unreadable", str(path), message) from error
    except (ParseError, OSError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        message = f"this is not valid XML ({error}). Write the annotation again."
        raise FieldError("labels.unreadable", str(path), message) from error


def number(text: str | None, path: Path, field: str, remedy: str = "Correct it, or remove the object.") -> float:
    """Number in a field.

    Raises:
        FieldError: If it is missing or not a number.

    Example:
        >>> number("12.5", Path("a.xml"), "object[0].bndbox.xmin")
        12.5
    """
    try:
        return float(text or "")
    except ValueError:
        shown = "missing" if text is None else f"'{printable(text, limit=80)}', not a number"
        raise FieldError("labels.number", str(path), f"{field} is {shown}. {remedy}") from None


def image_size(height: str | None, width: str | None, path: Path, field: str) -> tuple[int, int]:
    """(height, width) of an image; 0 where it is not known.

    Raises:
        FieldError: If one is missing or not a whole number, or the image would be too large.

    Example:
        >>> image_size("40", "60", Path("a.xml"), "size")
        (40, 60)
    """
    remedy = "Correct it, or remove both height and width."
    rows, columns = number(height, path, f"{field}.height", remedy), number(width, path, f"{field}.width", remedy)
    whole = rows.is_integer() and columns.is_integer()
    if not whole or min(rows, columns) < 0 or max(rows, columns, rows * columns) > MAX_PIXELS:
        raise FieldError("labels.size", str(path), f"{field} is {columns:g}x{rows:g} pixels. {remedy}")
    return int(rows), int(columns)


def plain_value(text: str) -> int | float | str:
    """Text as a number where the number is written back as the same text; other text as it is.

    Example:
        >>> plain_value("3"), plain_value("0.5"), plain_value("0.50"), plain_value("left")
        (3, 0.5, '0.50', 'left')
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        return text
    value = float(text) if found[1] else int(text)
    return value if repr(value) == text else text


def children(element: Element, skip: Collection[str] = (), depth: int = 3) -> dict[str, Any]:
    """Values of an element's children by their names; children with children of their own become dictionaries.

    Args:
        element: Parent.
        skip: Names of children to leave out.
        depth: Levels that are read; deeper ones are left out.

    Example:
        >>> children(ElementTree.fromstring("<object><pose>left</pose><size><width>60</width></size></object>"))
        {'pose': 'left', 'size': {'width': 60}}
    """
    values: dict[str, Any] = {}
    for child in element if depth else ():
        text = (child.text or "").strip()
        value: Any = children(child, depth=depth - 1) if len(child) else plain_value(text)
        if child.tag not in skip and value not in ("", {}):
            values.setdefault(child.tag, value)
    return values
