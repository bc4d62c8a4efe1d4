"""The configurations of the YOLO line, written from the lists of layers that their authors published.

``LINE`` holds the text, the number of classes and that of parameters of each. Only what decides the network is in the
texts; settings of Darknet's training are not.
"""

from __future__ import annotations

from collections.abc import Mapping

DEPTHS = (1, 2, 8, 8, 4)


def section(kind: str, **values: object) -> str:
    lines = [f"[{kind}]", *(f"{key}={value}" for key, value in values.items())]
    return "\n".join(lines) + "\n\n"


def net(size: int) -> str:
    return section("net", batch=1, subdivisions=1, width=size, height=size, channels=3)


def conv(filters: int, size: int = 1, stride: int = 1, activation: str = "leaky", normalized: bool = True) -> str:
    values: dict[str, object] = {"batch_normalize": 1} if normalized else {}
    return section("convolutional", **values, filters=filters, size=size, stride=stride, pad=1, activation=activation)


def pool(size: int = 2, stride: int = 2) -> str:
    return section("maxpool", size=size, stride=stride)


def route(*layers: int, **values: int) -> str:
    return section("route", layers=", ".join(map(str, layers)), **values)


def shortcut() -> str:
    return section("shortcut", **{"from": -3}, activation="linear")


UP = section("upsample", stride=2)
ANCHORS = "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326"
ANCHORS4 = "12, 16, 19, 36, 40, 28, 36, 75, 76, 55, 72, 146, 142, 110, 192, 243, 459, 401"
TINY = "10,14, 23,27, 37,58, 81,82, 135,169, 344,319"
V4 = {"iou_thresh": 0.213, "iou_normalizer": 0.07, "iou_loss": "ciou", "nms_kind": "greedynms", "beta_nms": 0.6}


def yolo(mask: str, anchors: str, classes: int = 80, ignore: float = 0.7, **values: object) -> str:
    count = len(anchors.split(",")) // 2
    return section(
        "yolo", mask=mask, anchors=anchors, classes=classes, num=count, jitter=0.3, ignore_thresh=ignore,
        truth_thresh=1, random=1, **values,
    )  # fmt: skip


def predict(channels: int, head: str, outputs: int = 255) -> str:
    return conv(channels, 3) + conv(outputs, activation="linear", normalized=False) + head


def five(channels: int) -> str:
    return conv(channels) + conv(2 * channels, 3) + conv(channels) + conv(2 * channels, 3) + conv(channels)


SPP = pool(5, 1) + route(-2) + pool(9, 1) + route(-4) + pool(13, 1) + route(-1, -3, -5, -6)


def three_and_pooling(channels: int) -> str:
    return conv(channels) + conv(2 * channels, 3) + conv(channels) + SPP + conv(channels)


def darknet19(classes: int = 1000, size: int = 224) -> str:
    text = net(size) + conv(32, 3) + pool()
    for width, depth in ((64, 1), (128, 3), (256, 3), (512, 5), (1024, 5)):
        for number in range(depth):
            text += conv(width, 3) if number % 2 == 0 else conv(width // 2)
        text += pool() if width < 1024 else ""
    text += conv(classes, activation="linear", normalized=False)
    return text + section("avgpool") + section("softmax", groups=1) + section("cost", type="sse")


def darknet53_body() -> str:
    text = conv(32, 3)
    for number, depth in enumerate(DEPTHS):
        channels = 64 * 2**number
        text += conv(channels, 3, 2) + (conv(channels // 2) + conv(channels, 3) + shortcut()) * depth
    return text


def darknet53(classes: int = 1000, size: int = 256) -> str:
    end = section("avgpool") + section("connected", output=classes, activation="linear") + section("softmax", groups=1)
    return net(size) + darknet53_body() + end


def cspdarknet53_body() -> str:
    text = conv(32, 3, activation="mish")
    for number, depth in enumerate(DEPTHS):
        channels = 64 * 2**number
        half = channels if depth == 1 else channels // 2
        text += conv(channels, 3, 2, "mish") + conv(half, activation="mish") + route(-2) + conv(half, activation="mish")
        text += (conv(channels // 2, activation="mish") + conv(half, 3, activation="mish") + shortcut()) * depth
        text += conv(half, activation="mish") + route(-1, -(3 * depth + 4)) + conv(channels, activation="mish")
    return text


def cspdarknet53(classes: int = 1000, size: int = 256) -> str:
    end = section("avgpool") + conv(classes, activation="linear", normalized=False) + section("softmax", groups=1)
    return net(size) + cspdarknet53_body() + end


def yolov1() -> str:
    """Of ``yolo-small.cfg``: two fully connected layers before the last."""
    kinds: tuple[tuple[int, int, int] | None, ...] = (
        (64, 7, 2), None, (192, 3, 1), None, (128, 1, 1), (256, 3, 1), (256, 1, 1), (512, 3, 1), None,
        *((256, 1, 1), (512, 3, 1)) * 4, (512, 1, 1), (1024, 3, 1), None, *((512, 1, 1), (1024, 3, 1)) * 2,
        (1024, 3, 1), (1024, 3, 2), (1024, 3, 1), (1024, 3, 1),
    )  # fmt: skip
    text = net(448) + section("crop", crop_width=448, crop_height=448, flip=0, angle=0)
    for kind in kinds:
        text += pool() if kind is None else conv(*kind, normalized=False)
    for outputs, activation in ((512, "leaky"), (4096, "leaky")):
        text += section("connected", output=outputs, activation=activation)
    text += section("dropout", probability=0.5) + section("connected", output=1470, activation="linear")
    return text + section("detection", classes=20, coords=4, rescore=1, side=7, num=2, softmax=0, sqrt=1)


def yolov2(classes: int = 80) -> str:
    anchors = "0.57273, 0.677385, 1.87446, 2.06253, 3.33843, 5.47434, 7.88282, 3.52778, 9.77052, 9.16828"
    text = net(416) + conv(32, 3) + pool()
    for width, depth in ((64, 1), (128, 3), (256, 3), (512, 5), (1024, 5)):
        for number in range(depth):
            text += conv(width, 3) if number % 2 == 0 else conv(width // 2)
        text += pool() if width < 1024 else ""
    text += conv(1024, 3) + conv(1024, 3) + route(-9) + conv(64) + section("reorg", stride=2) + route(-1, -4)
    text += conv(1024, 3) + conv(5 * (5 + classes), activation="linear", normalized=False)
    return text + section(
        "region", anchors=anchors, bias_match=1, classes=classes, coords=4, num=5, softmax=1, rescore=1, thresh=0.6
    )


def yolov2_tiny(classes: int = 80) -> str:
    anchors = "0.57273, 0.677385, 1.87446, 2.06253, 3.33843, 5.47434, 7.88282, 3.52778, 9.77052, 9.16828"
    text = net(416)
    for channels in (16, 32, 64, 128, 256, 512):
        text += conv(channels, 3) + pool(2, 1 if channels == 512 else 2)
    text += conv(1024, 3) + conv(512, 3) + conv(5 * (5 + classes), activation="linear", normalized=False)
    return text + section("region", anchors=anchors, classes=classes, coords=4, num=5, softmax=1, rescore=1, thresh=0.6)


def yolov3(size: int = 416, pooling: bool = False) -> str:
    def level(mask: str) -> str:
        return yolo(mask, ANCHORS)

    # The last two convolutions of the five follow the pooling.
    joint = three_and_pooling(512) + conv(1024, 3) + conv(512) if pooling else five(512)
    text = net(size) + darknet53_body() + joint + predict(1024, level("6,7,8"))
    text += route(-4) + conv(256) + UP + route(-1, 61) + five(256) + predict(512, level("3,4,5"))
    return text + route(-4) + conv(128) + UP + route(-1, 36) + five(128) + predict(256, level("0,1,2"))


def tiny_end(fine: int, head: Mapping[str, object], masks: tuple[str, str]) -> str:
    text = conv(256) + predict(512, yolo(masks[1], TINY, **head))  # type: ignore[arg-type]
    text += route(-4) + conv(128) + UP + route(-1, fine)
    return text + predict(256, yolo(masks[0], TINY, **head))  # type: ignore[arg-type]


def yolov3_tiny(size: int = 416) -> str:
    text = net(size)
    for channels in (16, 32, 64, 128, 256, 512):
        text += conv(channels, 3) + pool(2, 1 if channels == 512 else 2)
    return text + conv(1024, 3) + tiny_end(8, {}, ("0,1,2", "3,4,5"))


def yolov4(size: int = 608) -> str:
    def level(mask: str, scale: float) -> str:
        return yolo(mask, ANCHORS4, scale_x_y=scale, **V4)

    text = net(size) + cspdarknet53_body() + three_and_pooling(512) + conv(1024, 3) + conv(512)
    text += conv(256) + UP + route(85) + conv(256) + route(-1, -3) + five(256)
    text += conv(128) + UP + route(54) + conv(128) + route(-1, -3) + five(128) + predict(256, level("0,1,2", 1.2))
    text += route(-4) + conv(256, 3, 2) + route(-1, -16) + five(256) + predict(512, level("3,4,5", 1.1))
    return text + route(-4) + conv(512, 3, 2) + route(-1, -37) + five(512) + predict(1024, level("6,7,8", 1.05))


def yolov4_tiny(size: int = 416) -> str:
    text = net(size) + conv(32, 3, 2) + conv(64, 3, 2)
    for channels in (64, 128, 256):
        text += conv(channels, 3) + route(-1, groups=2, group_id=1) + conv(channels // 2, 3) + conv(channels // 2, 3)
        text += route(-1, -2) + conv(channels) + route(-6, -1) + pool()
    head = {"scale_x_y": 1.05, **{key: value for key, value in V4.items() if key != "iou_thresh"}}
    return text + conv(512, 3) + tiny_end(23, head, ("0,1,2", "3,4,5"))


LINE: dict[str, tuple[str, int, int]] = {
    "darknet19": (darknet19(), 1000, 20_842_376),
    "darknet53": (darknet53(), 1000, 41_609_928),
    "cspdarknet53": (cspdarknet53(), 1000, 27_642_184),
    "yolov1": (yolov1(), 20, 93_970_430),
    "yolov2": (yolov2(), 80, 50_962_889),
    "yolov2_tiny": (yolov2_tiny(), 80, 11_232_057),
    "yolov3": (yolov3(), 80, 61_949_149),
    "yolov3_tiny": (yolov3_tiny(), 80, 8_852_366),
    "yolov3_spp": (yolov3(608, pooling=True), 80, 62_998_749),
    "yolov4": (yolov4(), 80, 64_363_101),
    "yolov4_tiny": (yolov4_tiny(), 80, 6_056_606),
}
"""Text, classes, parameters."""
