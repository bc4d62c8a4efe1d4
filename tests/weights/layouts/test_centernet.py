"""The layout of CenterNet's authors is recognised, before that of the backbone inside, and by nothing else."""

from __future__ import annotations

from saccade.weights.layouts import centernet, layouts, torchvision_resnet

RESNET = {"conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer4.0.downsample.0.weight"}
DLA = {"base.base_layer.0.weight", "base.fc.weight", "dla_up.ida_0.node_1.0.weight"}
HOURGLASS = {"pre.0.conv.weight", "kps.0.up1.0.conv1.weight", "hm.1.0.conv.weight"}


def test_networks_of_the_authors_are_recognised_before_their_backbones() -> None:
    heads = {"hm.0.weight", "wh.2.bias", "reg.2.weight"}
    for body in (RESNET | {"deconv_layers.0.weight"}, DLA, HOURGLASS):
        assert next(one.NAME for one in layouts() if one.matches(body | heads)) == centernet.NAME
    assert torchvision_resnet.matches(RESNET | {"deconv_layers.0.weight"} | heads)


def test_other_networks_are_not() -> None:
    assert not centernet.matches(RESNET)
    assert not centernet.matches(RESNET | {"deconv_layers.0.weight", "final_layer.weight"})  # a network for poses
    assert not centernet.matches({name.removeprefix("base.") for name in DLA if name.startswith("base.")})
