"""Models of the kinds that people bring and that no other list here has, small, with seeded random weights.

Rules of this module:

- Written as exporters write them: gates over channels, patches as tokens, transposed convolutions, a cache of keys that
  grows, states that go both ways.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.helpers.walle_models import Net

type Shapes = dict[str, tuple[int, ...]]
type Built = tuple[bytes, Shapes]


class _Net(Net):
    def silu(
        self, x: str, channels: int, filters: int, size: int, stride: int = 1, group: int = 1
    ) -> str:
        made = self.norm(self.conv(x, channels, filters, size, stride, group), filters)
        return self.op("Mul", made, self.op("Sigmoid", made))

    def layer_norm(self, x: str, width: int) -> str:
        ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
        return self.op("LayerNormalization", x, self.constant(ones), self.constant(zeros), axis=-1)

    def integers(self, *numbers: int) -> str:
        return self.constant(np.array(numbers))

    def number(self, value: float) -> str:
        return self.constant(np.float32(value))

    def attend(self, q: str, k: str, v: str, scale: float) -> str:
        scores = self.op("MatMul", q, self.op("Transpose", k, perm=[0, 1, 3, 2]))
        weights = self.op("Softmax", self.op("Mul", scores, self.number(scale)), axis=-1)
        return self.op("Transpose", self.op("MatMul", weights, v), perm=[0, 2, 1, 3])

    def built(self, shapes: Shapes, output: str) -> Built:
        ports: list[onnx.ValueInfoProto] = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in shapes.items()
        ]
        return self.model(ports, output), shapes


def gated() -> Built:
    """EfficientNet's blocks: expanded, one filter a channel, gated by what is in the whole picture, narrowed."""
    net, channels = _Net(1), 16
    x = net.silu("x", 3, channels, 3, 2)
    for expand, filters, stride, size in (
        (1, 16, 1, 3),
        (6, 24, 2, 3),
        (6, 40, 2, 5),
        (6, 40, 1, 5),
    ):
        width, rest = channels * expand, x
        y = net.silu(x, channels, width, 1) if expand > 1 else x
        y = net.silu(y, width, width, size, stride, width)
        squeezed = net.conv(net.op("GlobalAveragePool", y), width, channels // 4, 1)
        squeezed = net.op("Mul", squeezed, net.op("Sigmoid", squeezed))
        y = net.op("Mul", y, net.op("Sigmoid", net.conv(squeezed, channels // 4, width, 1)))
        y = net.norm(net.conv(y, width, filters, 1), filters)
        x = net.op("Add", y, rest) if stride == 1 and channels == filters else y
        channels = filters
    pooled = net.op("Flatten", net.op("GlobalAveragePool", x), axis=1)
    return net.built({"x": (1, 3, 96, 96)}, net.linear(pooled, channels, 10))


def patches() -> Built:
    """A vision transformer: patches of 16 by 16 and a token of its own, four layers of three heads."""
    net, width, heads, side = _Net(2), 96, 3, 8
    tokens = side * side + 1
    cut = net.op("Conv", "x", net.weight(width, 3, 16, 16), strides=[16, 16], kernel_shape=[16, 16])
    x = net.op("Transpose", net.op("Reshape", cut, net.integers(1, width, -1)), perm=[0, 2, 1])
    x = net.op("Concat", net.weight(1, 1, width, scale=0.02), x, axis=1)
    x = net.op("Add", x, net.weight(1, tokens, width, scale=0.02))
    for _ in range(4):
        mixed = net.linear(net.layer_norm(x, width), width, 3 * width)
        mixed = net.op("Reshape", mixed, net.integers(1, tokens, 3, heads, width // heads))
        mixed = net.op("Transpose", mixed, perm=[2, 0, 3, 1, 4])
        q, k, v = (net.op("Gather", mixed, net.constant(np.array(i)), axis=0) for i in range(3))
        joined = net.attend(q, k, v, (width // heads) ** -0.5)
        joined = net.op("Reshape", joined, net.integers(1, tokens, width))
        x = net.op("Add", x, net.linear(joined, width, width))
        y = net.linear(net.layer_norm(x, width), width, 4 * width)
        erf = net.op("Erf", net.op("Div", y, net.number(2**0.5)))
        y = net.op("Mul", net.op("Mul", y, net.op("Add", erf, net.number(1))), net.number(0.5))
        x = net.op("Add", x, net.linear(y, 4 * width, width))
    return net.built(
        {"x": (1, 3, 16 * side, 16 * side)}, net.linear(net.layer_norm(x, width), width, 10)
    )


def segmenter() -> Built:
    """A U-Net: down by pools, up by transposed convolutions, joined with what was there, statistics of each picture."""
    net = _Net(3)

    def block(x: str, channels: int, filters: int) -> str:
        ones, zeros = np.ones(filters, np.float32), np.zeros(filters, np.float32)
        for into in (channels, filters):
            made = net.conv(x, into, filters, 3)
            made = net.op("InstanceNormalization", made, net.constant(ones), net.constant(zeros))
            x = net.op("Relu", made)
        return x

    x, channels, kept = "x", 3, []
    for filters in (8, 16, 32):
        x = block(x, channels, filters)
        kept.append((x, filters))
        x = net.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
        channels = filters
    x = block(x, 32, 64)
    channels = 64
    for other, filters in reversed(kept):
        x = net.op("ConvTranspose", x, net.weight(channels, filters, 2, 2), strides=[2, 2])
        x = block(net.op("Concat", x, other, axis=1), 2 * filters, filters)
        channels = filters
    return net.built({"x": (1, 3, 64, 64)}, net.op("Sigmoid", net.conv(x, 8, 1, 1)))


def decoder(tokens: int, past: int) -> Built:
    """A language model's step: keys and values of what was said before come in, and new ones are joined to them."""
    net, width, heads = _Net(4), 128, 4
    size = width // heads
    shapes: Shapes = {"x": (1, tokens, width)}
    x = "x"
    for layer in range(3):
        y = net.layer_norm(x, width)
        q, k, v = (
            net.op(
                "Transpose",
                net.op(
                    "Reshape", net.linear(y, width, width), net.integers(1, tokens, heads, size)
                ),
                perm=[0, 2, 1, 3],
            )
            for _ in range(3)
        )
        for name in (f"k{layer}", f"v{layer}"):
            shapes[name] = (1, heads, past, size)
        k, v = net.op("Concat", f"k{layer}", k, axis=2), net.op("Concat", f"v{layer}", v, axis=2)
        joined = net.op("Reshape", net.attend(q, k, v, size**-0.5), net.integers(1, tokens, width))
        x = net.op("Add", x, net.linear(joined, width, width))
        y = net.linear(net.layer_norm(x, width), width, 4 * width)
        x = net.op("Add", x, net.linear(net.op("Mul", y, net.op("Sigmoid", y)), 4 * width, width))
    return net.built(shapes, net.linear(net.layer_norm(x, width), width, 1000))


def reader() -> Built:
    """A text recogniser's end: two LSTMs that go both ways, and a distribution over letters at each step."""
    net, x, steps, size = _Net(5), "x", 40, 48
    for layer, width in enumerate((32, 2 * size)):
        held = [
            net.weight(2, 4 * size, width, scale=0.1),
            net.weight(2, 4 * size, size, scale=0.1),
            net.weight(2, 8 * size, scale=0.1),
        ]
        net.nodes.append(
            helper.make_node(
                "LSTM", [x, *held], [f"both{layer}"], hidden_size=size, direction="bidirectional"
            )
        )
        turned = net.op("Transpose", f"both{layer}", perm=[0, 2, 1, 3])
        x = net.op("Reshape", turned, net.integers(steps, 1, 2 * size))
    letters = net.op("Softmax", net.linear(x, 2 * size, 97), axis=-1)
    return net.built({"x": (steps, 1, 32)}, letters)


OTHERS: dict[str, Callable[[], Built]] = {
    "gated": gated,
    "patches": patches,
    "segmenter": segmenter,
    "decoder of one": lambda: decoder(1, 50),
    "decoder of many": lambda: decoder(20, 30),
    "reader": reader,
}
