"""Every network keeps the contract. A new model is tested by being registered (and by one line in members.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.contract.members import MEMBERS, Member, images_for, targets_for
from torch import Tensor

from saccade.deploy.export import export_model
from saccade.deploy.verify import verify_export
from saccade.explain.summary import summary
from saccade.models.base import Model
from saccade.models.checkpoint import load_model, save_model
from saccade.models.registry import create_model, list_models
from saccade.tasks import get_task, list_tasks

COUNTS = json.loads((Path(__file__).parents[1] / "reference_counts.json").read_text())["counts"]
ALL = pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.builder)


def build(member: Member) -> Model:
    torch.manual_seed(0)
    return create_model(member.builder, **member.options)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_every_family_has_a_member() -> None:
    with torch.device("meta"):
        present = {type(create_model(member.builder, **member.options)) for member in MEMBERS}
        for name in list_models():
            model = create_model(name)
            assert type(model) in present, (
                f"{name}: add a small member of {type(model).__name__} to tests/contract/members.py"
            )


@pytest.mark.parametrize("name", list_models())
def test_attributes_and_counts(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name)
    assert model.task in list_tasks()
    assert model.builder_name == name
    assert len(model.input_spec.mean) == model.input_spec.channels
    assert len(model.feature_channels) == len(model.feature_strides) > 0
    assert list(model.feature_strides) == sorted(model.feature_strides)
    assert model.stage_names
    for module in (*model.stage_names, model.head_name):
        model.get_submodule(module)
    if name in COUNTS:
        expected = COUNTS[name]
        figures = summary(name, num_classes=expected["num_classes"], input_size=tuple(expected["input"]))
        assert figures.params == expected["params"]
        if "macs" in expected:
            assert figures.macs == expected["macs"]


@ALL
def test_forward_and_decode_have_a_fixed_structure(member: Member) -> None:
    model = build(member).eval()
    with torch.no_grad():
        outputs = model(images_for(model, member.size))
        decoded = model.decode(outputs)
    assert all(isinstance(value, Tensor) and torch.isfinite(value).all() for value in outputs.values())
    assert tuple(decoded) == get_task(model.task).decoded_keys
    assert all(len(value) == 2 for value in decoded.values())


@ALL
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("objects", [(2, 1), (3, 0), (0, 0), (1,)], ids=str)
def test_loss_is_finite_and_reaches_every_parameter(member: Member, training: bool, objects: tuple[int, ...]) -> None:
    model = build(member).train(training)
    terms = model.loss(images_for(model, member.size, len(objects)), targets_for(model, member.size, objects))
    assert all(value.ndim == 0 and torch.isfinite(value) for value in terms.values())
    sum(terms.values(), torch.zeros(())).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not without, "DDP would wait for these for ever"
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters() if parameter.grad is not None)


@ALL
def test_features_are_what_the_attributes_say(member: Member) -> None:
    model = build(member).eval()
    with torch.no_grad():
        maps = model.features(images_for(model, member.size))
    assert tuple(value.shape[1] for value in maps) == model.feature_channels
    for value, stride in zip(maps, model.feature_strides, strict=True):
        assert abs(value.shape[2] - member.size[0] / stride) < 1 + 4 * (member.odd_size is None)


@ALL
def test_other_sizes(member: Member) -> None:
    if member.odd_size is None:
        with pytest.raises(ValueError, match="32"):
            build(member)(torch.zeros(1, 1, 40, 40))
        return
    model = build(member).eval()
    with torch.no_grad():
        decoded = model.decode(model(images_for(model, member.odd_size)))
    assert all(torch.isfinite(value).all() for value in decoded.values())


@ALL
def test_checkpoint_round_trip(member: Member, tmp_path: Path) -> None:
    model = build(member).eval()
    model.class_names = tuple(f"class {index}" for index in range(model.num_classes))
    save_model(model, tmp_path / "model.safetensors", metrics={"AP": 0.5})
    again = load_model(tmp_path / "model.safetensors").eval()
    images = images_for(model, member.size)
    with torch.no_grad():
        first, second = model(images), again(images)
    assert again.class_names == model.class_names
    assert again.input_spec == model.input_spec
    for key, value in first.items():
        assert torch.equal(value, second[key])


@ALL
def test_evaluation_is_deterministic_and_does_not_depend_on_batch_mates(member: Member) -> None:
    model = build(member).eval()
    images = images_for(model, member.size, batch=3)
    with torch.no_grad():
        together, again, alone = model(images), model(images), model(images[1:2])
    for key, value in together.items():
        assert torch.equal(value, again[key])
        if len(value) == 3:
            torch.testing.assert_close(value[1:2], alone[key], rtol=1e-4, atol=1e-4)


@ALL
def test_forward_is_one_graph(member: Member) -> None:
    model = build(member).eval()
    images = images_for(model, member.size)
    with torch.no_grad():
        compiled = torch.compile(model, fullgraph=True, backend="eager")(
            images
        )  # capture is what can break; the code generator is torch's
        for key, value in model(images).items():
            torch.testing.assert_close(compiled[key], value)


@ALL
def test_torch_export_with_dynamic_batch(member: Member) -> None:
    model = build(member).eval()
    images = images_for(model, member.size)
    program = torch.export.export(model, (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=64)},))
    more = images_for(model, member.size, batch=5, seed=1)
    with torch.no_grad():
        expected, got = model(more), program.module()(more)
    for key, value in expected.items():
        torch.testing.assert_close(got[key], value, rtol=1e-4, atol=1e-4)


@ALL
def test_onnx_runtime_gives_the_same_answers_at_any_batch(member: Member, tmp_path: Path) -> None:
    model = build(member).eval()
    model.class_names = tuple(f"class {index}" for index in range(model.num_classes))
    path = export_model(model, tmp_path / "model.onnx", format="onnx", size=member.size)
    pictures = torch.randint(
        0,
        256,
        (3, model.input_spec.channels, *member.size),
        dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )
    report = verify_export(model, path, pictures)
    assert report.passed, report
