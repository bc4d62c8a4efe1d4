"""Networks of ``.cfg`` files: the line by its counts, equality with our own builders, every verb, and bad input."""

# ruff: noqa: E501 (a configuration and its message stand in one line)

from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.models.darknet.line_cfgs import LINE, V4, conv, net, pool, predict, route, section, yolo
from torch import nn

import saccade
from saccade.errors import ConfigError, WeightsError
from saccade.models.base import Model
from saccade.models.checkpoint import save_model
from saccade.models.darknet.cfg import SECTIONS
from saccade.models.darknet.keys import KEYS
from saccade.models.darknet.open import load_darknet, read_darknet_names
from saccade.models.registry import create_model, list_models
from saccade.testing import check_model
from saccade.weights.darknet import DarknetHeader, read_darknet_header, write_darknet

ANCHORS = "10,14, 23,27, 37,58, 81,82"


def tiny(classes: int = 2, size: int = 64, head: str = "", filters: int = 0, **values: object) -> str:
    """Two levels of stride 16 and 32, the coarse one first, as files have them."""
    outputs = filters or 2 * (5 + classes)
    text = net(size) + conv(8, 3, 2) + conv(8, 3, 2) + conv(8, 3, 2) + conv(8, 3, 2) + conv(16, 3, 2)
    text += predict(16, head or yolo("2,3", ANCHORS, classes, **values), outputs)
    text += route(-4) + section("upsample", stride=2) + route(-1, 3)
    return text + predict(16, yolo("0,1", ANCHORS, classes, **values), outputs)


def region(softmax: int = 1) -> str:
    text = net(64) + conv(8, 3, 2) + conv(8, 3, 2) + conv(8, 3, 2) + conv(8, 3, 2)
    text += conv(8, 3) + section("reorg", stride=2) + conv(3 * 7, activation="linear", normalized=False)
    head = {"anchors": "0.5,0.6, 1,1.2, 1.5,1.1", "num": 3, "classes": 2, "softmax": softmax, "rescore": 1}
    return text + section("region", **head, coords=4)


def grid(side: int = 2) -> str:
    text = net(64) + section("crop", crop_width=64, crop_height=64) + conv(8, 3, 2) + pool() + conv(8, 3, 2) + pool()
    text += section("local", filters=4, size=3, stride=2, pad=1, activation="leaky")
    text += section("dropout", probability=0.5) + section("connected", output=side * side * 12, activation="linear")
    return text + section("detection", classes=2, coords=4, side=side, num=2, sqrt=1, rescore=1)


def classifier() -> str:
    text = net(32) + conv(8, 3, 2) + pool() + section("connected", batch_normalize=1, output=6, activation="relu")
    return text + section("connected", output=3, activation="linear") + section("softmax", groups=1)


SMALL = {"yolo": tiny(), "region": region(), "detection": grid(), "classifier": classifier()}


def build(text: str, **options: object) -> Model:
    kind = (
        "darknet_detector"
        if any(f"[{one}]" in text for one in ("yolo", "region", "detection"))
        else "darknet_classifier"
    )
    return create_model(kind, cfg=text, **options)  # type: ignore[arg-type]


def shaken(model: Model) -> Model:
    """With statistics as if it had been trained."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for value, low in ((module.running_mean, -0.1), (module.running_var, 0.9), (module.weight.data, 0.4)):
                assert value is not None
                value.copy_(low + 0.2 * torch.rand(value.shape, generator=generator))
            module.bias.data.copy_(torch.rand(module.bias.shape, generator=generator) - 0.5)
    return model.eval()


@pytest.mark.parametrize("name", LINE)
def test_the_line_has_the_published_numbers_of_parameters(name: str) -> None:
    text, classes, parameters = LINE[name]
    with torch.device("meta"):
        model = build(text)
    assert sum(value.numel() for value in model.parameters()) == parameters
    assert model.num_classes == classes


@pytest.mark.parametrize(
    "name",
    [
        *("darknet19", "cspdarknet53", "yolov2_tiny", "yolov3_tiny", "yolov4_tiny"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("yolov2", "yolov3", "yolov3_spp", "yolov4")),
    ],
)
def test_a_file_gives_the_same_in_our_own_network_and_in_that_of_its_cfg(name: str, tmp_path: Path) -> None:
    text = LINE[name][0]
    model = shaken(create_model(name))
    header = DarknetHeader(seen=5_000_000_000)
    path = write_darknet(tmp_path / "a.weights", model, header)
    assert path.stat().st_size == 20 + 4 * sum(
        value.numel() for key, value in model.state_dict().items() if value.ndim and key != "anchor_sizes"
    )
    (tmp_path / "a.cfg").write_text(text)
    other = load_darknet(tmp_path / "a.cfg", path)
    images = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected, found = model(images), other(images)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5 * float(value.abs().max()))
    again = write_darknet(tmp_path / "b.weights", other, read_darknet_header(path))
    assert again.read_bytes() == path.read_bytes()  # bit for bit, the header too
    ours = create_model(name, weights=str(path)).state_dict()
    assert all(torch.equal(ours[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("version", [(0, 1), (0, 2)], ids=str)
def test_round_trip_bit_for_bit(kind: str, version: tuple[int, int], tmp_path: Path) -> None:
    model = shaken(build(SMALL[kind]))
    first = write_darknet(tmp_path / "a.weights", model, DarknetHeader(*version, 7, 64))
    (tmp_path / "a.cfg").write_text(SMALL[kind])
    opened = load_darknet(tmp_path / "a.cfg", first)
    assert read_darknet_header(first) == DarknetHeader(*version, 7, 64)
    assert write_darknet(tmp_path / "b.weights", opened, read_darknet_header(first)).read_bytes() == first.read_bytes()
    for key, value in model.state_dict().items():
        assert torch.equal(opened.state_dict()[key], value), key


@pytest.mark.parametrize("kind", SMALL)
def test_networks_keep_the_contract(kind: str) -> None:
    builder = "darknet_classifier" if kind == "classifier" else "darknet_detector"
    size = (32, 32) if kind == "classifier" else (64, 64)
    check_model(
        builder,
        # A fully connected layer with BatchNorm trains on two images at least.
        options={"cfg": SMALL[kind].replace("[connected]\nbatch_normalize=1", "[connected]"), "num_classes": 3},
        size=size,
        exported=kind == "yolo",
        leave_out=("odd_size", *(() if kind == "yolo" else ("fullgraph", "torch_export"))),  # canvases are padded
    )


def test_builders_that_need_a_file_are_not_listed_and_say_so() -> None:
    assert not [name for name in list_models() if name.startswith("darknet_")]
    with pytest.raises(ConfigError, match="'darknet_detector' needs cfg"):
        create_model("darknet_detector")


def test_heads_are_decoded_as_they_say() -> None:
    model = build(tiny(new_coords=1, scale_x_y=2.0).replace("activation=linear", "activation=logistic")).eval()
    assert model.size_coding == "square"
    assert model.xy_scales == (2.0, 2.0)
    for layer in model.head_names:
        model.get_submodule(layer).weight.data.zero_()
        model.get_submodule(layer).bias.data.fill_(math.log(0.6 / 0.4))  # Darknet's own output: 0.6
    found = model.boxes(model(torch.zeros(1, 3, 64, 64)))[0, 0]
    centre, sides = 16 * (0.6 * 2 - 0.5), (10 * 1.2**2, 14 * 1.2**2)
    expected = [centre - sides[0] / 2, centre - sides[1] / 2, centre + sides[0] / 2, centre + sides[1] / 2]
    assert found.tolist() == pytest.approx(expected, rel=1e-5)
    model = build(region())
    assert model.anchor_sizes[0].tolist() == [16.0, pytest.approx(19.2)]  # of cells of 32 pixels
    assert (model.class_scores, build(region(softmax=0)).class_scores) == ("softmax", "sigmoid")


@pytest.mark.parametrize(
    ("values", "kind", "beta"),
    [({}, "nms", 1.0), ({"nms_kind": "greedynms", "beta_nms": 0.9}, "diou", 0.6), ({"nms_kind": "diounms", "beta_nms": 0.9}, "diou", 0.9)],
)  # fmt: skip
def test_suppression_is_that_of_the_head(values: dict[str, object], kind: str, beta: float) -> None:
    model = build(tiny(**values))
    assert (model.nms.kind, model.nms.diou_beta, model.nms.iou) == (kind, beta, 0.45)


def test_a_grid_has_one_object_a_cell() -> None:
    model = build(grid())
    boxes = torch.tensor([[2.0, 2.0, 20.0, 20.0], [4.0, 4.0, 30.0, 28.0], [40.0, 40.0, 60.0, 62.0]])
    assert model.assignable(boxes, (64, 64)).tolist() == [True, False, True]


def test_settings_of_the_loss_are_those_of_the_head() -> None:
    model = build(tiny(label_smooth_eps=0.1, **V4))
    assert (model.threshold, model.loss_settings.box, model.loss_settings.label_smoothing) == (0.213, "ciou", 0.1)
    assert model.loss_settings.box_gain == pytest.approx(0.7)


@pytest.mark.parametrize("kind", SMALL)
def test_checkpoints_open_without_the_cfg_and_heads_take_other_classes(kind: str, tmp_path: Path) -> None:
    model = shaken(build(SMALL[kind], num_classes=5))
    model.class_names = tuple("abcde")
    again = saccade.load(save_model(model, tmp_path / "own.safetensors"))
    assert again.num_classes == 5
    images = torch.rand(2, 3, *model.input_spec.size)
    for key, value in model.predict(images).items():
        assert torch.equal(again.predict(images)[key], value), key
    path = write_darknet(tmp_path / "a.weights", shaken(build(SMALL[kind])))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    report = saccade.weights.load_weights(model, path)  # its head has 2 or 3 classes
    assert report.head
    assert set(report.head) <= set(model.class_rows)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed
    assert not changed & {key for key in report.head if "bn" not in key and "weight" in key and kind == "classifier"}


def test_every_verb_takes_a_cfg(tmp_path: Path) -> None:
    (tmp_path / "net.cfg").write_text(tiny(classes=2, head=yolo("2,3", ANCHORS, 2)))
    (tmp_path / "net.names").write_text("cat\ndog\n")
    path = write_darknet(tmp_path / "net.weights", shaken(build((tmp_path / "net.cfg").read_text())))
    cfg = str(tmp_path / "net.cfg")
    image = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    (found,) = saccade.predict(cfg, image, weights=str(path))
    assert found.boxes_xyxy.shape[1] == 4
    named = saccade.load(cfg, weights=path, class_names=tmp_path / "net.names")
    assert named.class_names == ("cat", "dog")
    saccade.convert(path, tmp_path / "net.safetensors", model=cfg, class_names=tmp_path / "net.names")
    assert saccade.load(tmp_path / "net.safetensors").class_names == ("cat", "dog")
    assert saccade.summary(cfg).params == sum(value.numel() for value in named.parameters())
    with pytest.raises(ConfigError, match="no weights"):
        saccade.load(cfg)


def test_class_names_lie_beside_the_cfg(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "saccade")
    cfg = tmp_path / "net.cfg"
    cfg.write_text(tiny(classes=2))
    path = write_darknet(tmp_path / "net.weights", shaken(build(cfg.read_text())))

    def found() -> tuple[str, ...]:
        caplog.clear()
        return saccade.load(cfg, weights=path).class_names

    assert found() == ()
    assert "net.cfg' has 2 classes without names: no file beside it names as many. Put them there as 'net.names'" in caplog.text  # fmt: skip
    assert "--class-names FILE" in caplog.text
    (tmp_path / "coco.names").write_text("a\nb\nc\n")  # of another network
    (tmp_path / "pets.data").write_text("classes=2\nlabels=x.txt\nnames=lists/pets.names\n")
    assert found() == ()
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "pets.names").write_text("cat\ndog\n")
    assert found() == ("cat", "dog")
    assert "names of its classes from" in caplog.text
    (tmp_path / "birds.names").write_text("owl\njay\n")
    assert found() == ()
    assert "'birds.names' and 'pets.data' beside it name as many, but not the same" in caplog.text
    (tmp_path / "net.names").write_text("owl\njay\n")  # of the network's own name
    assert found() == ("owl", "jay")
    (detections,) = saccade.predict(str(cfg), np.zeros((48, 64, 3), np.uint8), weights=str(path))
    assert detections.class_names == ("owl", "jay")
    saccade.convert(path, tmp_path / "net.safetensors", model=str(cfg))
    assert saccade.load(tmp_path / "net.safetensors").class_names == ("owl", "jay")
    (tmp_path / "net.names").write_text("owl\n")
    with pytest.raises(ConfigError, match=r"net.names' has 1 names, and '.*net.cfg' has 2 classes. Give one name a"):
        found()


def test_unknown_keys_are_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = "# typing errors\n" + tiny(ignore_tresh=0.6, qqqq=1).replace("pad=1", "pad=1\nstrides=1", 1)
    text = text.replace("batch=1", "batch=1\nlearning_rate=0.1\nburn_in=5\nmax_batches=9\npolicy=steps", 1)
    (tmp_path / "net.cfg").write_text(text)
    path = write_darknet(tmp_path / "net.weights", build(tiny()))
    load_darknet(tmp_path / "net.cfg", path, ("cat", "dog"))
    saccade.summary(str(tmp_path / "net.cfg"))
    told = [record.getMessage() for record in caplog.records]
    lines = {word: [n for n, line in enumerate(text.splitlines(), start=1) if line.startswith(word)] for word in ("strides", "ignore_tresh", "qqqq")}  # fmt: skip
    assert [message.partition(": ")[2] for message in told] == [
        f"cfg, line {lines['strides'][0]}: [convolutional] knows no key 'strides', which is ignored. Did you mean 'stride' or 'stride_y' or 'stride_x'?",
        *(
            message
            for near, other in zip(lines["ignore_tresh"], lines["qqqq"], strict=True)
            for message in (
                f"cfg, line {near}: [yolo] knows no key 'ignore_tresh', which is ignored. Did you mean 'ignore_thresh' or 'iou_thresh' or 'sim_thresh'?",
                f"cfg, line {other}: [yolo] knows no key 'qqqq', which is ignored.",
            )
        ),
    ]
    assert all(message.startswith(f"'{tmp_path / 'net.cfg'}': ") for message in told)
    caplog.clear()
    build("[net]\nwidth=32\nheight=32\nwidht=3\n[convolutional]\nfilters=3\nsize=32\nstride=32\nlearning_rate=1")
    assert caplog.messages == [
        "cfg, line 4: [net] knows no key 'widht', which is ignored. Did you mean 'width' or 'height'?"
    ]


def test_every_key_that_is_read_is_known() -> None:
    folder = Path(saccade.__file__).parent / "models" / "darknet"
    calls = [node for file in folder.glob("*.py") for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]  # fmt: skip
    methods = ("whole", "real", "wholes", "reals", "word")
    read = {
        call.args[0].value
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr in methods and isinstance(call.args[0], ast.Constant)
    }
    assert len(read) > 50
    assert not read - set().union(*KEYS.values())
    assert set(KEYS) == {"net", "network", *SECTIONS}


def test_backbones_start_a_training_and_do_not_predict(tmp_path: Path) -> None:
    (tmp_path / "net.cfg").write_text(tiny(classes=2))
    theirs, model = shaken(build(tiny(classes=3))), build(tiny(classes=2))
    content = write_darknet(tmp_path / "whole.weights", theirs).read_bytes()
    size = sum(value.numel() for name, value in theirs.state_dict().items() if value.ndim and name.startswith(tuple(f"body.layers.{number}." for number in range(5))))  # fmt: skip
    (tmp_path / "net.conv.5").write_bytes(content[: 20 + 4 * size])
    report = saccade.weights.load_weights(model, tmp_path / "net.conv.5")
    assert "Darknet, the first 5 of 9 layers with weights, 26 tensors loaded" in str(report)
    assert torch.equal(model.body.layers[4].conv.weight, theirs.body.layers[4].conv.weight)
    assert all(not name.startswith("body.layers.4.") for name in report.missing)
    assert "body.layers.5.conv.weight" in report.missing
    with pytest.raises(WeightsError, match=r"net\.conv\.5' holds the first 5 of 9 layers .*saccade train --model CFG"):
        load_darknet(tmp_path / "net.cfg", tmp_path / "net.conv.5")
    (tmp_path / "net.conv.5").write_bytes(content[: 16 + 4 * size])
    with pytest.raises(WeightsError, match=r"ends in layer 4, \[convolutional\] at line"):
        saccade.weights.load_weights(model, tmp_path / "net.conv.5")


def test_class_names_of_data_files(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "cfg").mkdir()
    (tmp_path / "data" / "pets.names").write_text("cat\ndog\n")
    (tmp_path / "cfg" / "pets.data").write_text("classes= 2\ntrain = x.txt\nnames = data/pets.names\n")
    assert read_darknet_names(tmp_path / "cfg" / "pets.data") == ("cat", "dog")
    (tmp_path / "cfg" / "bad.data").write_text("classes=2\n")
    with pytest.raises(ConfigError, match="names no file of class names"):
        read_darknet_names(tmp_path / "cfg" / "bad.data")


def test_weights_that_do_not_fit_say_where(tmp_path: Path) -> None:
    text = tiny()
    (tmp_path / "a.cfg").write_text(text)
    path = write_darknet(tmp_path / "a.weights", build(text))
    whole = path.read_bytes()
    path.write_bytes(whole[: -4 * 10])
    line = text.splitlines().index("[convolutional]") + 1
    with pytest.raises(WeightsError, match=r"ends in layer 12, \[convolutional\] at line \d+ of the cfg, with 228 of its 238 floats.*10 are missing"):  # fmt: skip
        load_darknet(tmp_path / "a.cfg", path)
    path.write_bytes(whole[: 20 + 4 * 100])
    with pytest.raises(
        WeightsError, match=rf"ends in layer 0, \[convolutional\] at line {line} of the cfg, with 100 of"
    ):
        load_darknet(tmp_path / "a.cfg", path)
    path.write_bytes(whole + bytes(12))
    with pytest.raises(WeightsError, match="3 floats are left behind its last layer, layer 12"):
        load_darknet(tmp_path / "a.cfg", path)
    write_darknet(path, build(text, num_classes=5))
    with pytest.raises(WeightsError, match="another number of classes"):
        load_darknet(tmp_path / "a.cfg", path)
    path.write_bytes(whole[:20] + np.full(len(whole[20:]) // 4, np.nan, "<f4").tobytes())
    with pytest.raises(WeightsError, match="no number"):
        load_darknet(tmp_path / "a.cfg", path)
    path.write_bytes(whole)
    (tmp_path / "few.names").write_text("cat\n")
    with pytest.raises(ConfigError, match=r"few.names' has 1 names, and '.*a.cfg' has 2 classes"):
        load_darknet(tmp_path / "a.cfg", path, tmp_path / "few.names")


HEAD = "[net]\nwidth=64\nheight=64\n"
YOLO = "[yolo]\nclasses=2\nnum=2\nanchors=10,14,23,27"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no layers"),
        ("[yolo]\n", r"line 1: the first section is \[yolo\]"),
        (f"{HEAD}[convolutionl]\n", r"line 4: there is no section \[convolutionl\]. Did you mean 'convolutional'"),
        (f"{HEAD}[lstm]\n", r"line 4: there is no section \[lstm\]"),
        (f"{HEAD}filters\n", "line 4: 'filters' is neither"),
        (f"{HEAD}[convolutional]\nfilters=x\n{YOLO}", "line 5: .*filters is 'x'; it must be a whole number"),
        (f"{HEAD}[convolutional]\nfilters=14\nactivation=leeky\n{YOLO}", "line 6: .*activation is 'leeky'. Did you mean 'leaky'"),
        (f"{HEAD}[convolutional]\nfilters=99999999999999999999\n{YOLO}", "line 5: .*from 1 to 65,536"),
        (f"{HEAD}[convolutional]\nfilters=21\nstride=32\nactivation=linear\n{YOLO}", r"line 8: \[yolo\] has 2 anchors and 2 classes and needs filters=14 .* has 21"),
        (f"{HEAD}[route]\nlayers=-1\n{YOLO}", "line 5: .*names layer -1, which is not before"),
        (f"{HEAD}[maxpool]\n[route]\nlayers=1\n{YOLO}", r"line 6: .*names layer 1, which is not before this one \(layer 1\)"),
        (f"{HEAD}[route]\n{YOLO}", "line 4: .*names no layers"),
        (f"{HEAD}[maxpool]\n[maxpool]\nsize=2\nstride=2\n[route]\nlayers=0,1\n{YOLO}", "line 9: .*unequal size"),
        (f"{HEAD}[convolutional]\nsize=99\n{YOLO}", "line 4: .*has no output"),
        (f"{HEAD}[connected]\noutput=1000000\n[connected]\noutput=1000000\n{YOLO}", "line 4: .*asks for 12,28.*weights"),
        (f"{HEAD}[upsample]\nstride=1000\n{YOLO}", "line 4: .*outputs an image, more than"),
        ("[net]\nwidth=60000\nheight=60000\n[maxpool]\n" + YOLO, "line 1: .*60000 x 60000 pixels"),
        (f"[net]\nheight=64\n[maxpool]\n{YOLO}", "line 1: .*no width"),
        (f"{HEAD}[maxpool]\n{YOLO}", r"line 5: \[yolo\] needs a convolutional section right before"),
        (f"{HEAD}[convolutional]\nfilters=14\nstride=32\n{YOLO},\nmask=0,7", "line 11: .*mask names anchor 7"),
        (f"{HEAD}[convolutional]\nfilters=14\nstride=32\n[yolo]\nclasses=2\nnum=2\nanchors=1,2,3", "line 10: .*needs 4 numbers"),
        (f"{HEAD}[convolutional]\nfilters=3\n[reorg]\nstride=2\n{YOLO}", "line 6: .*multiple of 4 channels"),
        (f"{HEAD}[convolutional]\nfilters=14\nstride=32\nantialiasing=1\n{YOLO}", "line 7: .*is not read"),
        (f"{HEAD}[convolutional]\nfilters=14\nstride=32\nsway=1\n{YOLO}", "line 7: .*sway=1 is not read"),
        (f"{HEAD}[convolutional]\nfilters=14\nstride=32\nrotate=1\n{YOLO}", "line 7: .*rotate=1 is not read"),
        (f"{HEAD}[maxpool]\ndontload=1\n[convolutional]\nfilters=14\nstride=32\n{YOLO}", "line 5: .*dontload=1 is not read"),
        (f"{HEAD}[maxpool]\n", "no .yolo., .region. or .detection."),
    ],
)  # fmt: skip
def test_bad_configurations_name_the_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create_model("darknet_detector", cfg=text)


def test_normalisation_over_several_iterations_has_the_numbers_of_one() -> None:
    normalized = "filters=4\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky"
    text = f"{HEAD}[convolutional]\n{normalized}\n[convolutional]\nfilters=14\nstride=32\n{YOLO}"
    one = create_model("darknet_detector", cfg=text).eval()
    several = create_model("darknet_detector", cfg=text.replace("batch_normalize", "cbn")).eval()
    several.load_state_dict(one.state_dict())
    images = torch.rand(1, 3, 64, 64)
    mine, theirs = one(images), several(images)
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_networks_learn_further(tmp_path: Path) -> None:
    torch.manual_seed(0)
    boxes = torch.tensor([[[8.0, 8.0, 30.0, 34.0], [30.0, 30.0, 60.0, 60.0]]])
    targets = {"boxes": boxes, "labels": torch.tensor([[0, 1]])}
    images = torch.rand(1, 3, 64, 64)
    for kind in ("yolo", "region", "detection"):
        model = build(SMALL[kind]).train()
        optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
        losses = []
        for _ in range(25):
            loss = torch.stack(list(model.loss(images, targets).values())).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        assert losses[-1] < 0.6 * losses[0], kind
