"""YAML that recurses, explodes or holds absurd values is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from saccade.errors import DataError
from saccade.structures.yaml_files import parse_yaml, read_yaml

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("&a [*a]", "holds itself"),
        ("&a {b: *a}", "holds itself"),
        ("? &a [*a]\n: b", "not valid YAML|holds itself"),
        ("[" * 5000 + "]" * 5000, "more than 50 deep"),
        ("[" * 60 + "]" * 60, "more than 50 deep"),
        (LAUGHS, "aliases repeat its values more than 1,000,000 times"),
        ("n: " + "9" * 5000, "not valid YAML"),
        ("n: 0x" + "f" * 5000, "more digits than any setting"),
        ("d: !!timestamp 2020-99-99", "not valid YAML"),
        ("x: !!python/object/apply:os.system [ls]", "not valid YAML"),
        ("x: [1, 2", "not valid YAML"),
        ("x: !!float abc", "not valid YAML"),
        ("x: !!int 1:99999999999999999999:1", "more digits than any setting"),
        ("x: \x07", "not valid YAML"),
        ("? [a]\n: b", "not valid YAML"),
        ("<<: 3", "not valid YAML"),
    ],
)
def test_hostile_yaml_is_named(text: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"^data\.yaml: .*({message})") as caught:
        parse_yaml(text, "data.yaml")
    assert "\n" not in str(caught.value)


def test_plain_values(tmp_path: Path) -> None:
    text = "a: 1\nb: [yes, 0.5, 2020-02-31, 2001-01-01]\nc: &x {d: null}\ne: *x\n"
    values = {"a": 1, "b": [True, 0.5, "2020-02-31", "2001-01-01"], "c": {"d": None}, "e": {"d": None}}
    assert parse_yaml(text, "a.yaml") == values
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_yaml(tmp_path / "a.yaml") == values
    assert read_yaml(tmp_path / "a.yaml", text_only=True)["b"] == ["yes", "0.5", "2020-02-31", "2001-01-01"]
    assert parse_yaml("", "a.yaml") is None
    with pytest.raises(DataError, match="more than the 10 bytes"):
        read_yaml(tmp_path / "a.yaml", limit=10)
