"""What every runtime keeps: one composition, further inputs by name, what is done after the graph, many canvases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from tests.deploy.proposals import ProposalNet, proposal_net
from tests.deploy.small import SmallClassifier, pixels, shake
from torch import Tensor, nn

from saccade.deploy.export import SUFFIXES, export_model
from saccade.deploy.fuse import fuse_batch_norm
from saccade.deploy.openvino_runtime import OpenVinoRuntime
from saccade.deploy.runtime import EagerRuntime, FusedRuntime, Runtime, open_runtime
from saccade.deploy.verify import verify_export
from saccade.errors import ConfigError
from saccade.models.base import Decoded, Outputs
from saccade.models.checkpoint import load_model, save_model
from saccade.models.finish import register_finish

FORMATS = ("onnx", "openvino", "torch")


class LateHead(SmallClassifier):
    """Its last head runs behind ``forward``, as that of Mask R-CNN does: ``predict`` is overridden."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Sequential(nn.Conv2d(self.num_classes, 8, 1, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1))
        self.dtypes: list[torch.dtype] = []

    def predict(self, images: Tensor, **inputs: Tensor) -> Decoded:
        logits = self(images)["logits"]
        scores = self.late(logits[:, :, None, None])
        self.dtypes.append(scores.dtype)
        return {"probabilities": scores.flatten(1).float().softmax(1)}


def late_head() -> LateHead:
    torch.manual_seed(0)
    model = LateHead()
    shake(model)
    model.num_classes = 4
    model.class_names = tuple("abcd")
    return model.eval()


def test_a_head_behind_forward_is_folded_exported_and_autocast(tmp_path: Path) -> None:
    model = late_head()
    images = pixels(model, 2)
    expected = EagerRuntime(model)(images)["probabilities"]
    fused = fuse_batch_norm(model, torch.zeros(1, 3, *model.input_spec.size))
    assert not [module for module in fused.modules() if isinstance(module, nn.BatchNorm2d)]
    for runtime in (FusedRuntime(model, "32"), OpenVinoRuntime(model, "32")):
        torch.testing.assert_close(runtime(images)["probabilities"], expected, rtol=1e-4, atol=1e-5)
    for kind in FORMATS:
        path = export_model(model, tmp_path / f"late{SUFFIXES[kind]}", format=kind)
        found = open_runtime(path, trust=True)(images)["probabilities"]
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)  # OpenVINO files may compute in bfloat16
        assert verify_export(model, path, images, trust=True).passed
    model.dtypes.clear()
    EagerRuntime(model, "cpu", "bf16")(images)
    assert model.dtypes == [torch.bfloat16]


def proposals(batch: int, count: int = 5) -> Tensor:
    corners = torch.rand(batch, count, 2, 2, generator=torch.Generator().manual_seed(count)).sort(dim=2).values
    return (corners * torch.tensor([48.0, 32.0]) + torch.tensor([[0.0, 0.0], [1.0, 1.0]])).flatten(2)


@pytest.fixture(scope="module")
def network() -> ProposalNet:
    torch.manual_seed(1)
    model = proposal_net()
    shake(model)
    return model.eval()


@pytest.fixture(scope="module")
def runtimes(network: ProposalNet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Runtime]:
    folder = tmp_path_factory.mktemp("proposals")
    files = {kind: export_model(network, folder / f"p{SUFFIXES[kind]}", format=kind) for kind in FORMATS}
    opened: dict[str, Runtime] = {name: open_runtime(path, trust=True) for name, path in files.items()}
    save_model(network, folder / "p.safetensors")
    opened["checkpoint"] = EagerRuntime(load_model(folder / "p.safetensors"))
    return opened | {"fused": FusedRuntime(network, "32"), "openvino in memory": OpenVinoRuntime(network, "32")}


NAMES = ("onnx", "openvino", "torch", "checkpoint", "fused", "openvino in memory")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("batch", "count"), [(1, 5), (3, 9)])
def test_further_inputs_reach_every_runtime_by_name(
    network: ProposalNet, runtimes: dict[str, Runtime], name: str, batch: int, count: int
) -> None:
    runtime = runtimes[name]
    assert runtime.input_names == ("proposals",)
    images, boxes = pixels(network, batch), proposals(batch, count)
    expected = EagerRuntime(network)(images, proposals=boxes)
    found = runtime(images, proposals=boxes)
    assert found["boxes"].shape == (batch, count, 4)
    torch.testing.assert_close(found["scores"], expected["scores"], rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(found["count"], expected["count"])


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_input_is_named(network: ProposalNet, runtimes: dict[str, Runtime], name: str) -> None:
    with pytest.raises(ConfigError, match="needs the input 'proposals' beside the images"):
        runtimes[name](pixels(network, 1))


@register_finish("darken")
def darken(decoded: Decoded, images: Tensor, factor: float = 1.0) -> Decoded:
    """The share of each class weighed by how bright the canvas is."""
    brightness = images.float().mean((1, 2, 3)) / 255
    return {"probabilities": decoded["probabilities"] * brightness[:, None] * factor}


def test_what_is_done_after_the_graph_is_recorded_and_run_everywhere(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SmallClassifier()
    shake(model)
    model.eval()
    images = pixels(model, 2)
    plain = EagerRuntime(model)(images)["probabilities"]
    model.finish, model.finish_options = "darken", {"factor": 0.5}
    expected = plain * (images.float().mean((1, 2, 3)) / 255)[:, None] * 0.5
    runtimes: list[Runtime] = [EagerRuntime(model), FusedRuntime(model, "32"), OpenVinoRuntime(model, "32")]
    for kind in FORMATS:
        runtimes.append(open_runtime(export_model(model, tmp_path / f"f{SUFFIXES[kind]}", format=kind), trust=True))
    for runtime in runtimes:
        torch.testing.assert_close(runtime(images)["probabilities"], expected, rtol=2e-2, atol=2e-3)


def test_a_finish_that_is_not_registered_is_named() -> None:
    model = SmallClassifier().eval()
    model.finish = "darkem"
    with pytest.raises(ConfigError, match=r"ends with 'darkem', which is not registered here. Did you mean 'darken'"):
        EagerRuntime(model)(pixels(model, 1))


class FullyConvolutional(SmallClassifier):
    def forward(self, images: Tensor) -> Outputs:
        return super().forward(images)


def test_compiled_canvases_are_kept_by_recency(monkeypatch: pytest.MonkeyPatch) -> None:
    from saccade.deploy import openvino_runtime

    made: list[tuple[int, int]] = []
    plain = openvino_runtime.export_program

    def export_program(form: object, spec: object, dynamic_batch: bool) -> object:
        made.append(spec.size)  # type: ignore[attr-defined]
        return plain(form, spec, dynamic_batch)  # type: ignore[arg-type]

    monkeypatch.setattr(openvino_runtime, "export_program", export_program)
    torch.manual_seed(0)
    model = FullyConvolutional()
    shake(model)
    runtime, eager = OpenVinoRuntime(model.eval(), "32"), EagerRuntime(model)

    def predict(side: int) -> None:
        images = torch.randint(0, 256, (1, 3, side, side), dtype=torch.uint8)
        found, expected = runtime(images)["probabilities"], eager(images)["probabilities"]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    for side in (32, 40, 48, 56):
        predict(side)
    predict(64)  # the fifth canvas goes through torch ...
    assert [height for height, _ in made] == [32, 40, 48, 56]
    predict(64)  # ... and is compiled when it comes back, in place of the one that was used longest ago
    predict(40)
    predict(64)
    assert [height for height, _ in made] == [32, 40, 48, 56, 64]
    assert list(runtime._graphs) == [(48, 48), (56, 56), (40, 40), (64, 64)]


@pytest.mark.parametrize("kind", ["eager", "openvino", "onnx", "openvino file"])
def test_runtimes_may_be_called_from_several_threads(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    model = SmallClassifier()
    shake(model)
    model.eval()
    if kind in ("eager", "openvino"):
        runtime: Runtime = EagerRuntime(model) if kind == "eager" else OpenVinoRuntime(model, "32")
    else:
        written = "onnx" if kind == "onnx" else "openvino"
        runtime = open_runtime(export_model(model, tmp_path / f"t{SUFFIXES[written]}", format=written), trust=True)
    batches = [pixels(model, 2, seed=seed) for seed in range(8)]
    alone = [runtime(batch)["probabilities"] for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda batch: runtime(batch)["probabilities"], batches * 4))
    for found, expected in zip(together, alone * 4, strict=True):
        torch.testing.assert_close(found, expected)
