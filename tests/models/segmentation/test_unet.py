from __future__ import annotations

import cv2
import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F

from saccade.errors import ConfigError
from saccade.models.registry import create_model
from saccade.weights.layouts import unet_smp


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [("unet", 2, (31037698, 192686325760)), ("unet_resnet34", 1, (24436369, 31255953408))],
)
def test_parameters_and_macs(name, classes, expected, macs):
    with torch.device("meta"):
        model = create_model(name, num_classes=classes)
    assert (sum(p.numel() for p in model.parameters()), macs(model, (3, 512, 512))) == expected


def test_equal_weights_give_the_outputs_of_segmentation_models_pytorch(scramble):
    torch.manual_seed(0)
    reference = smp.Unet("resnet34", encoder_weights=None, classes=1)
    scramble(reference)
    model = create_model("unet_resnet34").eval()
    keys = set(reference.state_dict())
    assert unet_smp.matches(keys)
    assert not unet_smp.matches({"conv1.weight"})
    model.load_state_dict(unet_smp.convert(dict(reference.state_dict()), model))
    reference.eval()
    for size in ((64, 96), (128, 64)):
        images = torch.randn(2, 3, *size)
        with torch.no_grad():
            expected = reference(images)
            difference = (model(images)["logits"] - expected).abs().max()
        assert difference <= 1e-4 * expected.abs().max()


def test_a_block_up_joins_skip_and_enlarged_map():
    torch.manual_seed(0)
    block = create_model("unet", base_channels=4).decoder[3].eval()
    x, skip = torch.randn(1, 8, 3, 5), torch.randn(1, 4, 6, 10)
    # A transposed convolution of kernel and stride 2: one matrix product for each of the four pixels it makes of one.
    up = torch.zeros(1, 4, 6, 10)
    for dy in range(2):
        for dx in range(2):
            up[:, :, dy::2, dx::2] = torch.einsum(
                "bihw,io->bohw", x, block.up.weight[:, :, dy, dx]
            ) + block.up.bias.view(1, 4, 1, 1)
    torch.testing.assert_close(block(x, skip), block.convolutions(torch.cat((skip, up), 1)))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("unet", {"base_channels": 4}),
        ("unet_resnet34", {}),
        ("unet_backbone", {"backbone": "resnet18"}),
        ("unet_backbone", {"backbone": "resnet50", "decoder_channels": (32, 16, 16, 8, 8)}),
        ("unet_backbone", {"backbone": "lenet5"}),
        ("unet_backbone", {"backbone": "mobilenet_v3_small", "merge": "add"}),
    ],
)
def test_any_size_gives_an_answer_of_that_size(name, options):
    model = create_model(name, num_classes=3, **options).eval()
    channels = model.input_spec.channels
    with torch.no_grad():
        for size in ((33, 70), (64, 64), (20, 17)):
            outputs = model(torch.randn(1, channels, *size))
            probabilities = model.decode(outputs)["probabilities"]
            assert probabilities.shape == (1, 3, *size)
            torch.testing.assert_close(probabilities.sum(1), torch.ones(1, *size))


def test_features_are_told():
    for name in ("unet", "unet_backbone"):
        model = create_model(name).eval()
        with torch.no_grad():
            maps = model.features(torch.randn(1, 3, 64, 64))
        assert [(value.shape[1], 64 // value.shape[2]) for value in maps] == list(
            zip(model.feature_channels, model.feature_strides, strict=True)
        )


@pytest.mark.parametrize(
    "backbone", ["lenet5", "vgg11", "googlenet_bn", "hrnet_w18_small", "convnext_tiny", "vit_ti_16"]
)
def test_parts_hold_every_parameter_over_any_backbone(backbone):
    with torch.device("meta"):
        model = create_model("unet_backbone", backbone=backbone)
    parts = (*model.stage_names, *model.neck_names, *model.head_names)
    held = [
        name for part in parts for name, _ in model.named_parameters() if name == part or name.startswith(f"{part}.")
    ]
    assert sorted(held) == sorted(name for name, _ in model.named_parameters())
    assert model.stage_names == tuple(f"backbone.{name}" for name in model.backbone.stage_names)
    assert model.backbone.head_names == model.backbone.auxiliary_heads == ()
    assert not model.backbone.class_rows


def test_a_skip_is_added_after_a_projection_to_as_many_channels():
    torch.manual_seed(0)
    block = create_model("unet_backbone", backbone="resnet18", merge="add").decoder[0].eval()
    x, skip = torch.randn(1, 512, 2, 3), torch.randn(1, 256, 4, 6)
    large = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    joined = large + torch.einsum("bihw,oi->bohw", skip, block.projection.weight[:, :, 0, 0])
    torch.testing.assert_close(block(x, skip), block.convolutions(joined), rtol=1e-4, atol=1e-4)


def test_an_unknown_way_to_merge():
    with pytest.raises(ConfigError, match="merge is 'sum'"):
        create_model("unet_backbone", merge="sum")


def test_too_few_decoder_channels():
    with pytest.raises(ConfigError, match="needs 5"):
        create_model("unet_backbone", decoder_channels=(64, 32))


def test_initial_deviation_is_the_papers():
    torch.manual_seed(0)
    model = create_model("unet")
    assert model.encoder[3][3].weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.01)
    assert model.decoder[0].up.weight.std().item() == pytest.approx((2 / 1024) ** 0.5, rel=0.01)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("training", [True, False])
def test_loss_ignores_unknown_pixels(classes, training):
    torch.manual_seed(0)
    model = create_model("unet", num_classes=classes, base_channels=4).train(training)
    images = torch.randn(2, 3, 32, 48)
    labels = torch.randint(0, max(classes, 2), (2, 32, 48))
    labels[:, :10] = 255
    terms = model.loss(images, [{"label_map": one.to(torch.uint8)} for one in labels])
    assert set(terms) == ({"cross_entropy", "dice"} if classes == 1 else {"cross_entropy"})
    logits, known = model(images)["logits"], labels != 255
    if classes == 1:
        expected = F.binary_cross_entropy_with_logits(logits[:, 0][known], labels[known].float())
    else:
        expected = F.cross_entropy(logits.movedim(1, -1)[known], labels[known])
    torch.testing.assert_close(terms["cross_entropy"], expected)

    nothing = sum(model.loss(images, {"label_map": torch.full((2, 32, 48), 255)}).values())
    nothing.backward()
    assert nothing == 0
    assert all((p.grad == 0).all() for p in model.parameters())


def test_dice_can_be_added():
    model = create_model("unet", base_channels=4)
    model.dice_weight = 0.5
    terms = model.loss(torch.randn(1, 3, 32, 32), {"label_map": torch.ones(1, 32, 32, dtype=torch.long)})
    assert 0 < terms["dice"] < 0.5


@pytest.mark.data("isbi2012_membrane")
@pytest.mark.parametrize("classes", [1, 2])
def test_learns_a_few_real_cells(classes, data_root):
    folder = data_root / "isbi2012_membrane" / "train"
    crops = [cv2.imread(str(folder / "image" / f"{n}.png"), cv2.IMREAD_GRAYSCALE)[:64, :64] for n in range(4)]
    labels = [cv2.imread(str(folder / "label" / f"{n}.png"), cv2.IMREAD_GRAYSCALE)[:64, :64] // 255 for n in range(4)]
    torch.manual_seed(0)
    model = create_model("unet", num_classes=classes, in_channels=1, base_channels=8)
    images = torch.stack([torch.from_numpy(image)[None] / 255.0 for image in crops])
    targets = {"label_map": torch.stack([torch.from_numpy(label) for label in labels])}
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(40):
        loss = sum(model.loss(images, targets).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    probabilities = model.decode(model(images))["probabilities"]
    answer = probabilities[:, 0] > 0.5 if classes == 1 else probabilities.argmax(1)
    assert (answer == targets["label_map"]).float().mean() > 0.95
    assert all(torch.isfinite(term) for term in model.eval().loss(images, targets).values())
