"""Who goes through the whole suite of ``saccade.testing``.

One small member of each family. All other builders go through attributes, parts, rows of classes and counts.
"""

from __future__ import annotations

from saccade.testing import Subject

_EPISODES = ((1, 1, 1, 2, 2, 2), (0, 0), (0, 1), (0,))
_PAIRS = ((1, 1, 2, 1), (0, 0), (0, 0, 1), (0,))
_LIMBS = {"num_classes": 5, "skeleton": ((0, 1), (1, 2), (2, 3), (3, 4))}

MEMBERS = (
    Subject("lenet5", {"num_classes": 10}, (32, 32), odd_size=(41, 57)),
    Subject("lenet5_1998", {"num_classes": 10}, (32, 32), odd_size=(41, 57)),
    Subject("resnet18", {"num_classes": 7}),
    Subject("resnet50_v1", {"num_classes": 3}),
    # Narrow where the paper's fully connected layers would hold most of the weights; three poolings need the pixels.
    Subject("alexnet", {"num_classes": 5, "fc_channels": 32}),
    Subject("alexnet_2012", {"num_classes": 5, "fc_channels": 32}, (96, 96), odd_size=(107, 133)),
    Subject("vgg11", {"num_classes": 5, "fc_channels": 32}),
    Subject("spp_net_classifier", {"num_classes": 4, "hidden": 32, "levels": (2, 1)}),
    # Large enough that a 3x3 pooling of the last map does not give one value only.
    Subject("googlenet", {"num_classes": 5}, (96, 96), exported=False),
    Subject("googlenet_bn", {"num_classes": 5}, (96, 96)),
    Subject("darknet19", {"num_classes": 4}),
    Subject("darknet53", {"num_classes": 4}),
    Subject("cspdarknet53", {"num_classes": 4}),
    Subject("preact_resnet18", {"num_classes": 4}),
    Subject("resnet20_cifar", {"num_classes": 4}, (32, 32), odd_size=(41, 57)),
    Subject("resnext50_32x4d", {"num_classes": 4}, exported=False),
    Subject("mobilenet_v1_0_25", {"num_classes": 4}),
    Subject("mobilenet_v2", {"num_classes": 4}),
    Subject("mobilenet_v3_small", {"num_classes": 4}),
    Subject("shufflenet_v1_g3", {"num_classes": 4}),
    Subject("shufflenet_v2_x0_5", {"num_classes": 4}),
    Subject("efficientnet_b0", {"num_classes": 4}),
    Subject("efficientnet_v2_b0", {"num_classes": 4}),
    Subject("vit_ti_16", {"num_classes": 4, "image_size": 64}),
    Subject("swin_t", {"num_classes": 4}),
    Subject("convnext_tiny", {"num_classes": 4}),
    Subject("mobilevit_xxs", {"num_classes": 4}),
    Subject("hrnet_w18_small", {"num_classes": 4}),
    # Focus takes every second pixel, so sides are even.
    Subject("yolox_nano", {"num_classes": 2}, odd_size=(70, 102)),
    # 64 million parameters under the same head and decoding: another neck, which compilation captures whole.
    Subject("yolox_darknet53", {"num_classes": 2}, odd_size=(70, 102), exported=False),
    # Fully connected layers take one size alone.
    Subject("yolov1_fast", {"num_classes": 2, "size": (128, 192), "hidden": (32, 32)}, (128, 192)),
    Subject("yolov2_tiny", {"num_classes": 2}),
    Subject("yolov3_tiny", {"num_classes": 2}),
    Subject("yolov4_tiny", {"num_classes": 2}),
    Subject("yolov5n", {"num_classes": 2}),
    Subject("centernet", {"num_classes": 2, "neck_channels": 32, "head_channels": 16}),
    # A canvas of the largest stride, so that the coarsest level has whole cells.
    Subject("fcos", {"num_classes": 2, "channels": 64}, (128, 128)),
    # The coarsest of its five levels has a stride of 128; anchors as small as the canvas asks for.
    Subject("retinanet", {"num_classes": 2, "channels": 32, "anchor_size": 8}, (128, 128)),
    Subject("rcnn", {"num_classes": 2, "backbone": "mobilenet_v3_small", "region_size": 32, "context": 2}),
    # Maps of ten locations a side: on smaller ones two proposals may have the same features, and their order is free.
    Subject("spp_net", {"num_classes": 2, "hidden": 32, "levels": (2, 1)}, (160, 160), odd_size=(170, 201)),
    Subject("fast_rcnn", {"num_classes": 2, "hidden": 32}, (160, 160), odd_size=(170, 201)),
    # Few proposals: of a thousand random ones some lie so near to a threshold that rounding decides.
    Subject(
        "fasterrcnn",
        {"num_classes": 2, "channels": 32, "hidden": 64, "anchor_size": 8, "proposals": 200},
        (128, 128),
    ),
    Subject(
        "cascade_rcnn",
        {"num_classes": 2, "channels": 32, "hidden": 64, "anchor_size": 8, "proposals": 200},
        (128, 128),
    ),
    # Masks come from six random layers more, behind a RoIAlign that other runtimes compute in another order.
    Subject(
        "maskrcnn",
        {"num_classes": 2, "channels": 16, "anchor_size": 8, "proposals": 100},
        (128, 128),
        tolerance=2e-4,
    ),
    # Under the same first stages; a keypoint is the highest place of what is noise here, where rounding decides.
    Subject(
        "keypointrcnn",
        {"num_classes": 2, "num_keypoints": 3, "channels": 16, "anchor_size": 8, "proposals": 100},
        (128, 128),
        exported=False,
    ),
    # Four levels to stride 64; a ratio at which mining leaves out nothing, so that each level learns from any image.
    Subject("ssdlite", {"num_classes": 2, "levels": 4, "finest_stride": 8, "hard_negative_ratio": 100.0}, (128, 128)),
    Subject("unet", {"num_classes": 3, "base_channels": 4}),
    Subject("unet_resnet34", {"num_classes": 1}),
    Subject("fcn", {"num_classes": 3, "backbone": "mobilenet_v3_small"}),
    Subject("deeplabv3", {"num_classes": 3, "backbone": "resnet18"}),
    Subject("lraspp", {"num_classes": 3, "backbone": "mobilenet_v3_small"}),
    Subject("unet_2015", {"num_classes": 3, "base_channels": 4}),
    Subject("unetpp", {"num_classes": 1, "base_channels": 4}),
    Subject("unetpp", {"num_classes": 3, "backbone": "mobilenet_v3_small", "decoder_channels": (32, 16, 8, 8)}),
    Subject("hrnet_w18_small_seg", {"num_classes": 3}),
    Subject("fcn8s", {"num_classes": 3, "backbone": "resnet18"}),
    # Narrow: the padding of 100 makes an image of 64 pixels one of 262.
    Subject("fcn8s_vgg16", {"num_classes": 3, "fc_channels": 16, "base_channels": 4}),
    Subject("deeplabv1_largefov", {"num_classes": 3, "multi_scale": True, "fc_channels": 16, "base_channels": 4}),
    Subject("deeplabv2_resnet101", {"num_classes": 3, "depths": (1, 1, 1, 1), "scales": (0.5,)}),
    Subject("u2netp", {"base_channels": 16}),
    Subject("dsnt", {"num_classes": 6, "backbone": "resnet18"}),
    Subject("heatmap_regression", {"num_classes": 6, "backbone": "resnet18"}),
    Subject("coordinate_regression", {"num_classes": 6, "backbone": "mobilenet_v3_small"}),
    # Heads that are noise support few limbs, so that people have few points.
    Subject("openpose_coco", {**_LIMBS, "backbone": "mobilenet_v1_0_25", "stages": 2, "channels": 24}),
    Subject("lightweight_openpose", {**_LIMBS, "backbone": "mobilenet_v1_0_25", "channels": 16}),
    Subject("hrnet_pose", {"num_classes": 6}),
    Subject("hrnet_pose", {"num_classes": 6, "head": "v2", "refine": "dark"}),
    Subject("cyclegan_resnet6", {"base_channels": 4, "discriminator_channels": 4}),
    Subject("cyclegan_resnet6_generator", {"base_channels": 4}),
    # Two classes of three images; one of two, without a query of another; classes of one image, which are no episode.
    Subject("protonet_conv4", {"width": 8}, (28, 28), odd_size=(41, 57), objects=_EPISODES),
    Subject("matching", {"backbone": "mobilenet_v3_small", "dimensions": 8}, objects=_EPISODES, exported=False),
    Subject("matching_conv4", {"width": 8}, (28, 28), odd_size=(41, 57), objects=_EPISODES),
    Subject("maml_conv4", {"ways": 2, "width": 8}, (28, 28), objects=_EPISODES),
    # Pairs of one class and of two; a pair and an image without a partner.
    Subject("siamese", {"backbone": "mobilenet_v3_small", "dimensions": 8}, objects=_PAIRS),
    Subject("siamese_koch", {"fc_channels": 16, "width": 4}, (105, 105), objects=_PAIRS),
)

# Written for ONNX Runtime and OpenVINO in every run of the tests: each task, each kind of head and of attention. The
# others, which take tens of seconds each, are written by the slow tests.
IN_OTHER_RUNTIMES_OFTEN = {
    "lenet5",
    "resnet18",
    "mobilenet_v3_small",
    "vit_ti_16",
    "yolox_nano",
    "yolov2_tiny",
    "centernet",
    "retinanet",
    "ssdlite",
    "maskrcnn",
    "unet",
    "deeplabv3",
    "u2netp",
    "dsnt",
    "heatmap_regression",
    "lightweight_openpose",
    "cyclegan_resnet6",
    "protonet_conv4",
    "siamese",
}
