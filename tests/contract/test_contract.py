"""Every network keeps the contract. A new model is tested by being registered (and by one line in members.py)."""

from __future__ import annotations

import copy
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from tests.contract.hand_counts import REFERENCE, hand_counts
from tests.contract.members import MEMBERS, Member, build, images_for, pixels_for, targets_for
from torch import Tensor, nn

from saccade.analysis.counts import kept_counts
from saccade.analysis.summary import summary
from saccade.blocks.stochastic_depth import StochasticDepth
from saccade.deploy.export import SUFFIXES, export_model
from saccade.deploy.verify import ParityReport, compare, verify_export
from saccade.engine.train.optim import layers_of
from saccade.errors import ConfigError
from saccade.models.base import Model
from saccade.models.checkpoint import load_model, save_model
from saccade.models.registry import create_model, get_builder, list_models
from saccade.structures.kinds import check_kinds
from saccade.tasks import get_task, list_tasks

BY_HAND = hand_counts()

# Shapes of decoded tensors by task (docs/architecture.md); a letter stands for the same number everywhere.
SHAPES = {
    "classification": {"probabilities": "BC"},
    "detection": {"boxes": "BK4", "scores": "BK", "labels": "BK", "count": "B"},
    "segmentation": {"probabilities": "BCHW"},
    "keypoints": {"keypoints": "BNC2", "scores": "BNC", "count": "B"},
}

# Share of an output's scale by which it may change where the same sums are added up in another order (another batch
# size, folded layers, another runtime). Against float64 these networks are off by up to 4e-6 in float32, so two ways of
# computing them differ by up to 8e-6; five times that is left to other processors.
ROUNDING = 4e-5

ALL = pytest.mark.parametrize("member", MEMBERS, ids=lambda member: member.builder)
EXPORTED = [member for member in MEMBERS if member.exported]


@pytest.fixture(scope="module")
def built() -> Callable[[Member], Model]:
    """Each member is built once; it lives until this file is done."""
    return functools.cache(build)


@pytest.fixture
def model(member: Member, built: Callable[[Member], Model]) -> Iterator[Model]:
    """The member's network, in eval mode. It is shared: tests that train it take a copy."""
    model = built(member)
    yield model
    assert not model.training


@pytest.fixture(scope="module")
def on_meta() -> Callable[[str], Model]:
    """Each builder with its own defaults, once, without weights."""

    def create(name: str) -> Model:
        with torch.device("meta"):
            return create_model(name)

    return functools.cache(create)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Equal but for rounding."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    difference = (found.double() - expected.double()).abs().max()
    assert difference <= ROUNDING * expected.double().abs().max()


def assert_same_answers(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Decoded tensors that are equal but for rounding; rows (boxes, poses) may have changed places."""
    report = compare(
        expected,
        found,
        ParityReport("the other", (len(next(iter(expected.values()))),), {}, {}, None, 0, ROUNDING, True),
    )
    assert report.passed, report
    assert report.unmatched == 0, report
    assert (report.rows is not None) == ("count" in expected)


def slice_of(tensors: Mapping[str, Tensor], image: int, batch: int) -> dict[str, Tensor]:
    """What belongs to one image, or to all."""
    return {name: value[image : image + 1] if len(value) == batch else value for name, value in tensors.items()}


def test_every_family_has_a_member(on_meta: Callable[[str], Model]) -> None:
    families = {type(on_meta(member.builder)) for member in MEMBERS}
    for name in list_models():
        family = type(on_meta(name))
        assert family in families, f"{name}: add a small member of {family.__name__} to tests/contract/members.py"
    exported = {type(on_meta(member.builder)) for member in EXPORTED}
    assert exported == families
    assert {get_builder(member.builder).task for member in EXPORTED} == set(list_tasks())


@pytest.mark.parametrize("name", list_models())
def test_attributes(name: str, on_meta: Callable[[str], Model]) -> None:
    model = on_meta(name)
    assert model.task == get_builder(name).task
    assert model.task in list_tasks()
    assert model.builder_name == name
    assert model.builder_args["num_classes"] == model.num_classes
    assert all(side % model.input_spec.pad_multiple == 0 for side in model.input_spec.size)
    assert len(model.feature_channels) == len(model.feature_strides) > 0
    assert list(model.feature_strides) == sorted(model.feature_strides)
    task = get_task(model.task)
    assert set(task.decoded_keys) <= set(model.decoded_keys) <= {*task.decoded_keys, *task.optional_keys}
    assert model.target_names
    check_kinds(model.target_names)
    assert model.stage_names
    assert model.head_names


@pytest.mark.parametrize("name", list_models())
def test_parts_hold_every_parameter_once(name: str, on_meta: Callable[[str], Model]) -> None:
    """Each part is a submodule or a parameter, and has something to train."""
    model = on_meta(name)
    parameters = dict(model.named_parameters())
    parts = (*model.stage_names, *model.neck_names, *model.head_names, *model.auxiliary_heads)
    layers = [part for layer in layers_of(model) for part in layer]
    for kind, named in (("part", parts), ("layer", layers)):  # a rate that falls with depth goes by layers
        held = {part: [key for key in parameters if key == part or key.startswith(f"{part}.")] for part in named}
        for part, keys in held.items():
            assert keys, f"{kind} {part} has nothing to train or to freeze"
        counts = Counter(key for keys in held.values() for key in keys)
        assert counts == dict.fromkeys(parameters, 1), {key: counts[key] for key in parameters if counts[key] != 1}


@pytest.mark.parametrize("name", list_models())
def test_class_rows_are_the_tensors_that_know_the_number_of_classes(name: str, on_meta: Callable[[str], Model]) -> None:
    model = on_meta(name)
    own = model.state_dict()
    heads = tuple(f"{head}." for head in (*model.head_names, *model.auxiliary_heads))
    assert all(f"{key}.".startswith(heads) for key in model.class_rows)
    assert all(rows.num_classes(own[key]) == model.num_classes for key, rows in model.class_rows.items())
    if not model.class_rows:
        with pytest.raises(ConfigError, match="classes"):  # no head for other classes can be built at all
            create_model(name, num_classes=model.num_classes + 3)
        return
    with torch.device("meta"):
        wider = create_model(name, num_classes=model.num_classes + 3).state_dict()
    assert set(wider) == set(own)
    assert {key for key in own if own[key].shape != wider[key].shape} == set(model.class_rows)
    assert all(rows.num_classes(wider[key]) == model.num_classes + 3 for key, rows in model.class_rows.items())
    assert all(rows.matches(own[key], wider[key]) for key, rows in model.class_rows.items())


@pytest.mark.parametrize("name", list_models())
def test_parameters_and_multiply_adds(name: str, on_meta: Callable[[str], Model]) -> None:
    expected = {**REFERENCE.get(name, {}), **BY_HAND.get(name, {})}
    assert {"num_classes", "params", "macs"} <= set(expected), (
        f"{name}: no counts; put them into tests/contract/hand_counts"
    )
    model = on_meta(name)
    assert model.num_classes == expected["num_classes"]
    figures = summary(model, input_size=expected.get("input"))
    assert figures.params == expected["params"]
    assert figures.macs == expected["macs"]
    if tuple(expected.get("input", ())[1:]) in ((), model.input_spec.size):
        assert kept_counts().get(name) == (figures.params, figures.macs), "run: python docs/models_table.py"


@ALL
def test_decoded_tensors_are_what_the_task_says(member: Member, model: Model) -> None:
    with torch.no_grad():
        outputs = model(images_for(model, member.size, 2))
        decoded = model.decode(outputs)
    assert all(type(value) is Tensor and torch.isfinite(value).all() for value in outputs.values())
    assert tuple(decoded) == get_task(model.task).decoded_keys == tuple(SHAPES[model.task])
    sides = {"B": 2, "C": model.num_classes, "H": member.size[0], "W": member.size[1], "2": 2, "4": 4}
    for name, letters in SHAPES[model.task].items():
        assert torch.isfinite(decoded[name]).all()
        assert decoded[name].dtype == (torch.int64 if name in ("labels", "count") else torch.float32)
        assert decoded[name].ndim == len(letters)
        for letter, side in zip(letters, decoded[name].shape, strict=True):
            assert sides.setdefault(letter, side) == side, f"{name} has shape {tuple(decoded[name].shape)}"
    for name in ("probabilities", "scores"):
        assert name not in decoded or (decoded[name].min() >= 0 and decoded[name].max() <= 1)
    for image, count in enumerate(decoded.get("count", torch.empty(0)).tolist()):
        assert count > 0
        assert all(not value[image, count:].any() for name, value in decoded.items() if name != "count")
        assert decoded["scores"][image, :count].min() > 0


@pytest.mark.parametrize(
    "member", [m for m in MEMBERS if get_builder(m.builder).task == "detection"], ids=lambda member: member.builder
)
def test_boxes_come_by_falling_score_and_not_twice(member: Member, model: Model) -> None:
    with torch.no_grad():
        outputs = model(images_for(model, member.size, 2))
        decoded = model.decode(outputs)
    assert (decoded["scores"].diff(dim=1) <= 0).all()
    assert (decoded["labels"] < model.num_classes).all()
    # The network says more than its answer holds: suppression had something to do.
    assert (decoded["count"] < decoded["scores"].shape[1]).all()


@ALL
@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("objects", [(2, 1), (3, 0), (0, 0), (1,), (0,)], ids=str)
def test_loss_is_finite_and_reaches_every_parameter(
    member: Member, model: Model, training: bool, objects: tuple[int, ...]
) -> None:
    learner = copy.deepcopy(model).train(training)
    for module in learner.modules():
        if isinstance(module, (nn.Dropout, StochasticDepth)):
            module.p = 0.0  # what is left out by chance has no gradient by chance
    terms = learner.loss(images_for(model, member.size, len(objects)), targets_for(model, member.size, objects))
    assert all(value.ndim == 0 and torch.isfinite(value) for value in terms.values())
    sum(terms.values(), torch.zeros(())).backward()
    gradients = {name: parameter.grad for name, parameter in learner.named_parameters()}
    assert None not in gradients.values(), "DDP would wait for these for ever"
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients.values())
    if all(objects):
        # In the heads a level may have no positive, and so nothing to learn of classes.
        heads = tuple(f"{head}." for head in model.head_names)
        still = [name for name, gradient in gradients.items() if gradient is not None and not gradient.any()]
        assert all(name.startswith(heads) for name in still), still
        assert len(still) < sum(name.startswith(heads) for name in gradients)


@ALL
def test_loss_has_the_same_terms_for_any_ground_truth(member: Member, model: Model) -> None:
    images = images_for(model, member.size, 2)
    with torch.no_grad():
        names = [list(model.loss(images, targets_for(model, member.size, counts))) for counts in ((2, 1), (0, 0))]
    assert names[0] == names[1] != []


@ALL
def test_features_are_what_the_attributes_say(member: Member, model: Model) -> None:
    with torch.no_grad():
        maps = model.features(images_for(model, member.size))
    assert [tuple(value.shape) for value in maps] == [
        (2, channels, member.size[0] // stride, member.size[1] // stride)
        for channels, stride in zip(model.feature_channels, model.feature_strides, strict=True)
    ]


@ALL
def test_odd_sizes(member: Member, model: Model) -> None:
    assert all(side % max(model.feature_strides) for side in member.odd_size)
    images = images_for(model, member.odd_size)
    with torch.no_grad():
        decoded = model.decode(model(images))
    assert all(torch.isfinite(value).all() for value in decoded.values())
    if model.task == "segmentation":
        assert decoded["probabilities"].shape[2:] == member.odd_size
    learner = copy.deepcopy(model).train()
    terms = learner.loss(images, targets_for(model, member.odd_size, (2, 1)))
    assert all(torch.isfinite(value) for value in terms.values())
    sum(terms.values(), torch.zeros(())).backward()
    assert all(value.grad is not None and torch.isfinite(value.grad).all() for value in learner.parameters())


@ALL
def test_checkpoint_round_trip(member: Member, model: Model, tmp_path: Path) -> None:
    path = save_model(model, tmp_path / "model.safetensors", metrics={"AP": 0.5})
    again = load_model(path)
    path.unlink()  # up to 255 MB, which pytest would keep
    assert not again.training
    assert again.class_names == model.class_names
    assert again.input_spec == model.input_spec
    assert (again.builder_name, again.builder_args) == (model.builder_name, model.builder_args)
    images = images_for(model, member.size)
    with torch.no_grad():
        first, second = model(images), again(images)
    assert list(first) == list(second)
    for name, value in first.items():
        assert torch.equal(value, second[name])


@ALL
def test_evaluation_is_deterministic(member: Member, model: Model) -> None:
    images = images_for(model, member.size)
    with torch.no_grad():
        first, second = model(images), model(images)
        answers, again = model.decode(first), model.decode(second)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert all(torch.equal(value, again[name]) for name, value in answers.items())


@ALL
def test_evaluation_does_not_depend_on_batch_mates(member: Member, model: Model) -> None:
    images = images_for(model, member.size, batch=3)
    with torch.no_grad():
        together = model(images)
        answers = model.decode(together)
        for image in range(3):
            alone = model(images[image : image + 1])
            for name, value in slice_of(together, image, batch=3).items():
                assert_close(alone[name], value)
            assert_same_answers(model.decode(alone), slice_of(answers, image, batch=3))


@ALL
def test_forward_is_one_graph(member: Member, model: Model) -> None:
    images = images_for(model, member.size)
    torch.compiler.reset()
    # Capture is what a network can break; generating code from the graph is torch's.
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        found, expected = compiled(images), model(images)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert_close(found[name], value)


@pytest.mark.parametrize("member", EXPORTED, ids=lambda member: member.builder)
def test_torch_export_with_dynamic_batch(member: Member, model: Model) -> None:
    dynamic = ({0: torch.export.Dim("batch", min=1, max=64)},)
    with torch.no_grad():
        program = torch.export.export(model, (images_for(model, member.size),), dynamic_shapes=dynamic).module()
        for batch in (1, 5):
            images = images_for(model, member.size, batch, seed=2)
            found, expected = program(images), model(images)
            assert list(found) == list(expected)
            for name, value in expected.items():
                assert_close(found[name], value)


def exported_answers_are_the_same(member: Member, model: Model, format: str, folder: Path) -> None:
    path = export_model(model, folder / f"model{SUFFIXES[format]}", format=format, size=member.size)
    report = verify_export(model, path, pixels_for(model, member.size, 3), batch_sizes=(1, 3), tolerance=ROUNDING)
    assert report.passed, report
    assert report.unmatched == 0, report
    assert tuple(report.max_abs) == tuple(name for name in SHAPES[model.task] if name != "count")
    assert (report.rows is not None) == ("count" in SHAPES[model.task])


@pytest.mark.parametrize("member", EXPORTED, ids=lambda member: member.builder)
def test_onnx_runtime_gives_the_same_answers_at_any_batch(member: Member, model: Model, tmp_path: Path) -> None:
    exported_answers_are_the_same(member, model, "onnx", tmp_path)


@pytest.mark.parametrize("member", EXPORTED, ids=lambda member: member.builder)
def test_openvino_gives_the_same_answers_at_any_batch(member: Member, model: Model, tmp_path: Path) -> None:
    exported_answers_are_the_same(member, model, "openvino", tmp_path)
