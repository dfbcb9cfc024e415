"""A YOLOv8n: the detector that people put on devices, at 320 x 320, with seeded random weights.

Rules of this module:

- As ultralytics exports it: SiLU behind every convolution, halves split off and joined again, boxes from
  distributions over 16 distances, for 2,100 places and 80 classes.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.helpers.arrays import Array
from tests.helpers.walle_models import Net

SIZE = 320
CLASSES = 80
DISTANCES = 16
STRIDES = (8, 16, 32)


class _Detector(Net):
    def silu(self, x: str, channels: int, filters: int, size: int, stride: int = 1) -> str:
        made = self.norm(self.conv(x, channels, filters, size, stride), filters)
        return self.op("Mul", made, self.op("Sigmoid", made))

    def halves(self, x: str, width: int) -> list[str]:
        names = [f"h{len(self.nodes)}a", f"h{len(self.nodes)}b"]
        sizes = self.constant(np.array([width, width]))
        self.nodes.append(helper.make_node("Split", [x, sizes], names, axis=1))
        return names

    def c2f(self, x: str, channels: int, filters: int, count: int, *, adds: bool) -> str:
        """Cross-stage partial block: half of it goes through bottlenecks, all that they make is joined."""
        width = filters // 2
        parts = self.halves(self.silu(x, channels, filters, 1), width)
        for _ in range(count):
            made = self.silu(self.silu(parts[-1], width, width, 3), width, width, 3)
            parts.append(self.op("Add", parts[-1], made) if adds else made)
        joined = self.op("Concat", *parts, axis=1)
        return self.silu(joined, (2 + count) * width, filters, 1)

    def pyramid(self, x: str, channels: int) -> str:
        parts = [self.silu(x, channels, channels // 2, 1)]
        for _ in range(3):
            parts.append(
                self.op("MaxPool", parts[-1], kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4)
            )
        return self.silu(self.op("Concat", *parts, axis=1), 2 * channels, channels, 1)

    def doubled(self, x: str) -> str:
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        return self.op("Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric",
                       nearest_mode="floor")  # fmt: skip

    def head(self, x: str, channels: int) -> str:
        box = self.silu(self.silu(x, channels, 64, 3), 64, 64, 3)
        kind = self.silu(self.silu(x, channels, CLASSES, 3), CLASSES, CLASSES, 3)
        made = [self.conv(box, 64, 4 * DISTANCES, 1), self.conv(kind, CLASSES, CLASSES, 1)]
        shape = self.constant(np.array([1, 4 * DISTANCES + CLASSES, -1]))
        return self.op("Reshape", self.op("Concat", *made, axis=1), shape)


def yolov8n() -> bytes:
    """images (1, 3, 320, 320) -> (1, 84, 2100): centres, sizes and classes of every place."""
    net = _Detector(8)
    x = net.silu(net.silu("images", 3, 16, 3, 2), 16, 32, 3, 2)
    x = net.silu(net.c2f(x, 32, 32, 1, adds=True), 32, 64, 3, 2)
    fine = net.c2f(x, 64, 64, 2, adds=True)
    middle = net.c2f(net.silu(fine, 64, 128, 3, 2), 128, 128, 2, adds=True)
    x = net.c2f(net.silu(middle, 128, 256, 3, 2), 256, 256, 1, adds=True)
    deep = net.pyramid(x, 256)
    x = net.op("Concat", net.doubled(deep), middle, axis=1)
    up = net.c2f(x, 384, 128, 1, adds=False)
    x = net.op("Concat", net.doubled(up), fine, axis=1)
    small = net.c2f(x, 192, 64, 1, adds=False)
    x = net.op("Concat", net.silu(small, 64, 64, 3, 2), up, axis=1)
    medium = net.c2f(x, 192, 128, 1, adds=False)
    x = net.op("Concat", net.silu(medium, 128, 128, 3, 2), deep, axis=1)
    large = net.c2f(x, 384, 256, 1, adds=False)
    heads = [net.head(one, c) for one, c in ((small, 64), (medium, 128), (large, 256))]
    return net.model([_picture()], _boxes(net, net.op("Concat", *heads, axis=2)))


def _picture() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE, SIZE])


def _places() -> tuple[Array, Array]:
    """Centres (1, 2, places) and strides (1, places) of all places."""
    centres, steps = [], []
    for stride in STRIDES:
        side = SIZE // stride
        y, x = np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5, indexing="ij")
        centres.append(np.stack([x.ravel(), y.ravel()]))
        steps.append(np.full(side * side, stride))
    return np.hstack(centres)[None].astype(np.float32), np.hstack(steps)[None].astype(np.float32)


def _boxes(net: _Detector, x: str) -> str:
    """Distances to four sides, each the mean of a distribution, to centres and sizes; and the classes' sigmoid."""
    centres, steps = _places()
    count = centres.shape[2]
    sizes = net.constant(np.array([4 * DISTANCES, CLASSES]))
    net.nodes.append(helper.make_node("Split", [x, sizes], ["box", "kind"], axis=1))
    spread = net.op("Reshape", "box", net.constant(np.array([1, 4, DISTANCES, count])))
    turned = net.op("Transpose", spread, perm=[0, 2, 1, 3])
    mean = net.constant(np.arange(DISTANCES, dtype=np.float32).reshape(1, DISTANCES, 1, 1))
    sides = net.op("Conv", net.op("Softmax", turned, axis=1), mean)
    flat = net.op("Reshape", sides, net.constant(np.array([1, 4, count])))
    pair = net.constant(np.array([2, 2]))
    net.nodes.append(helper.make_node("Split", [flat, pair], ["before", "behind"], axis=1))
    place = net.constant(centres)
    first, last = net.op("Sub", place, "before"), net.op("Add", place, "behind")
    centre = net.op("Div", net.op("Add", first, last), net.constant(np.float32(2)))
    boxes = net.op("Concat", centre, net.op("Sub", last, first), axis=1)
    return net.op(
        "Concat", net.op("Mul", boxes, net.constant(steps)), net.op("Sigmoid", "kind"), axis=1
    )
