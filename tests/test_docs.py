"""Every block of the README and of the pages runs, in the order of its page, or says why not.

A page has an empty folder of its own with a tiny data set and small networks under the names that the pages use
(:func:`_material`). Its Python blocks share one namespace; lines of its shell blocks that call ``saccade`` go through
``saccade.cli.main``; a block with ``title="a/file.py"`` is written to that file. Two comments directly before a block:

- ``<!-- not run: reason -->``;
- ``<!-- run with: epochs = 1 -->``: the number of the page is replaced by this one, for trainings of minutes.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.registries import forgetting

import saccade
from saccade.cli import main
from saccade.data.catalogue.digit_scenes import DigitScenes
from saccade.data.tables.annotations import TableBuilder
from saccade.data.tables.table_dataset import TableDataset
from saccade.data.writers import get_writer
from saccade.data.writers._common import LossReport
from saccade.engine.train.configfile import config_to_yaml, load_config
from saccade.models.checkpoint import save_model
from saccade.results.images import write_image
from saccade.structures.dataset import DatasetInfo

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

# Text is shown, not run.
LANGUAGES = ("python", "sh", "yaml", "text")

_FENCE = re.compile(r'^```(\w*)(?: title="([^"]+)")?$')
_COMMENT = re.compile(r"^<!-- (not run|run with):(.*)-->$")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, its language, the file it is written to, its lines, the comment before it."""

    page: Path
    line: int
    language: str
    title: str
    text: str
    comment: str
    value: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page}:{self.line}"

    @property
    def runs(self) -> bool:
        return self.language != "text" and self.comment != "not run"


def blocks_of(page: Path) -> list[Block]:
    """Blocks of a page in order."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    number, before = 0, ""
    while number < len(lines):
        match = _FENCE.match(lines[number])
        if match is None:
            before = lines[number].strip()
            number += 1
            continue
        end = lines.index("```", number + 1)
        comment = _COMMENT.match(before)
        kind, value = (comment[1], comment[2].strip()) if comment else ("", "")
        text = "\n".join(lines[number + 1 : end])
        found.append(Block(page, number + 2, match[1], match[2] or "", text, kind, value))
        number, before = end + 1, ""
    return found


def text_of(block: Block) -> str:
    """What is run: the text of the page, with the number of ``run with`` in it."""
    if block.comment != "run with":
        return block.text
    name, number = (part.strip() for part in block.value.split("="))
    text, count = re.subn(rf"\b{re.escape(name)}( = | )\d+", rf"{name}\g<1>{number}", block.text)
    assert count, f"{block.where}: the block has no number of '{name}'"
    return text


def run_block(block: Block, names: dict[str, Any]) -> None:
    """Run a block in the present folder, or write it to its file."""
    text = text_of(block)
    if block.title:
        file = Path(block.title)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n", encoding="utf-8")
    elif block.language == "python":
        # Empty lines before it, so that a traceback shows the line of the page.
        exec(compile("\n" * (block.line - 1) + text, str(block.page), "exec"), names)
    elif block.language == "sh":
        for command in text.replace("\\\n", " ").splitlines():
            words = shlex.split(command, comments=True)
            if words:
                assert Path(words[0]).name == "saccade", f"{block.where}: only saccade is run here, not '{words[0]}'"
                assert main(words[1:]) == 0, f"{block.where}: {command}"
    else:
        raise AssertionError(f"{block.where}: a block of {block.language} is run by its title alone")


BLOCKS = {page: blocks_of(page) for page in PAGES}
RUN = [page for page, blocks in BLOCKS.items() if any(block.runs for block in blocks)]


def _scenes(folder: Path, counts: dict[str, int]) -> None:
    """Generated scenes of digits as a PASCAL VOC folder."""
    for split, count in counts.items():
        scenes = DigitScenes("detection", split, count, size=(96, 96))
        builder = TableBuilder(scenes.info.class_names)
        for index in range(count):
            sample = scenes.read(index)
            file = folder.parent / "originals" / f"{split}_{index}.png"
            write_image(file, sample.image)
            builder.add_image(file.name, size=sample.size)
            for label, box in zip(sample.target["labels"], sample.target["boxes"], strict=True):
                builder.add_object(scenes.info.class_names[label], box.tolist())
        info = DatasetInfo("scenes", "detection", scenes.info.class_names, split)
        data = TableDataset(info, folder.parent / "originals", builder.build())
        get_writer("voc").write(data, folder, split, "copy", LossReport("digit_scenes", "voc"))
    shutil.rmtree(folder.parent / "originals")


def _classes(folder: Path) -> None:
    """Dark and light images, a folder a class: ``cat`` and ``dog``."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        for name, level in (("cat", 60), ("dog", 180)):
            for index in range(count):
                noise = rng.integers(-40, 40, (48, 64, 3))
                write_image(folder / split / name / f"{index}.png", (level + noise).astype(np.uint8))


@pytest.fixture(scope="session")
def _material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages find: data sets, images, networks.

    - ``path/to/folder``: boxes of digits in PASCAL VOC's layout;
    - ``path/to/classes``: a folder of images a class;
    - ``photos/``, ``aerial.tif``: images;
    - ``best.safetensors``: a detector that finds something everywhere;
    - ``runs/x``: a classifier, with the configuration of a run on ``path/to/classes``;
    - ``runs/base``: a ResNet-18 of two other classes.
    """
    root = tmp_path_factory.mktemp("pages")
    _scenes(root / "path" / "to" / "folder", {"train": 3, "val": 2})
    _classes(root / "path" / "to" / "classes")
    rng = np.random.default_rng(1)
    for name, size in (("photos/a.jpg", (60, 80)), ("photos/b.png", (90, 70)), ("aerial.tif", (150, 200))):
        write_image(root / name, rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        detector = saccade.create_model("yolox_nano", num_classes=10)
        for name, parameter in detector.named_parameters():
            if name.endswith("bias") and name.startswith(detector.head_names):
                torch.nn.init.constant_(parameter, 1.0)
        detector.input_spec = detector.input_spec.with_size((64, 64))
        backbone = saccade.create_model("resnet18", num_classes=2)
        classifier = saccade.create_model("resnet20_cifar", num_classes=2)
    detector.class_names, backbone.class_names = tuple("0123456789"), ("car", "tree")
    classifier.class_names = ("cat", "dog")
    for folder in (root / "runs" / "base", root / "runs" / "x"):
        folder.mkdir(parents=True)
    save_model(detector, root / "best.safetensors")
    save_model(backbone, root / "runs" / "base" / "best.safetensors")
    save_model(classifier, root / "runs" / "x" / "best.safetensors")
    config = saccade.recipe(model="resnet20_cifar", data="path/to/classes")
    (root / "runs" / "x" / "config.yaml").write_text(config_to_yaml(config), encoding="utf-8")
    return root


@pytest.fixture
def _folder(_material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a page, in which its commands are given; what a page registers is forgotten behind it."""
    shutil.copytree(_material, tmp_path, copy_function=os.link, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("SACCADE_DATA", raising=False)
    monkeypatch.setenv("SACCADE_CACHE", str(tmp_path / ".cache"))
    with forgetting(tmp_path):
        yield tmp_path


@pytest.mark.usefixtures("_folder")
@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.name != "deploy.md":
        # Compiling takes OpenVINO seconds a network; this is a machine without the extra "export".
        monkeypatch.setitem(sys.modules, "openvino", None)
    names: dict[str, Any] = {"__name__": "__page__"}
    for block in BLOCKS[page]:
        if block.runs:
            run_block(block, names)


def test_what_does_not_run_says_why() -> None:
    comments = [block for blocks in BLOCKS.values() for block in blocks if block.comment]
    print("\n".join(f"{block.where} {block.comment}: {block.value}" for block in comments))  # pytest -rP shows it
    assert comments
    assert not [block.where for block in comments if not block.value]
    # A comment that is not directly before a block would excuse nothing, in silence.
    for page in PAGES:
        written = len(re.findall(r"^<!-- (?:not run|run with):.*-->$", page.read_text(encoding="utf-8"), flags=re.M))
        assert written == sum(block.page == page for block in comments), page.name


def test_code_is_fenced_and_has_a_language() -> None:
    for page, blocks in BLOCKS.items():
        for block in blocks:
            assert block.language in LANGUAGES, f"{block.where}: name the language, one of {', '.join(LANGUAGES)}"
            assert block.language != "yaml" or block.title, f"{block.where}: name the file that it is the text of"
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        assert "```" not in text, f"{page.name}: a fence is not alone on its line"
        assert not re.search(r"\n\n {4}\S", text), f"{page.name}: code that is indented is not run; put it into a fence"


def test_configurations_of_the_pages_are_valid(tmp_path: Path) -> None:
    for block in (block for blocks in BLOCKS.values() for block in blocks if block.language == "yaml"):
        if not block.title.endswith("saccade.yaml"):  # options of a reader
            (tmp_path / "run.yaml").write_text(block.text, encoding="utf-8")
            load_config(tmp_path / "run.yaml")


def test_the_runner_sees_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        '# Page\n\n```python title="a/number.py"\nnumber = 3\n```\n\n<!-- run with: epochs = 1 -->\n'
        "```python\nepochs = 30\n```\n\n```python\nprint(epochs + unknown)\n```\n\n"
        "<!-- not run: a reason -->\n```sh\nrm -rf .\n```\n\n```sh\nsaccade traain\n```\n"
    )
    written, changed, wrong, excused, failing = blocks_of(page)
    names: dict[str, Any] = {}
    run_block(written, names)
    assert Path("a/number.py").read_text() == "number = 3\n"
    run_block(changed, names)
    assert names["epochs"] == 1
    with pytest.raises(NameError, match="unknown"):
        run_block(wrong, names)
    assert not excused.runs
    assert excused.value == "a reason"
    with pytest.raises(AssertionError, match="saccade traain"):
        run_block(failing, names)
