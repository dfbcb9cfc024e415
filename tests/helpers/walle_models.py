"""The seven models that Walle was measured with, built here with seeded random weights.

Rules of this module:

- Shapes are those of the papers: pictures 1x3x224x224, BERT 256 tokens, DIN a history of 100 items of 32 numbers.
- Written as exporters write them: a convolution, its normalisation, its activation; shapes of reshapes computed from
  Shape, Gather and Concat where exporters do so.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.helpers.arrays import Array


class Net:
    """A graph under construction."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, *shape: int, scale: float | None = None) -> str:
        """Random numbers that keep the size of what they are multiplied with."""
        fan = int(np.prod(shape[1:])) if len(shape) > 1 else 1
        size = scale if scale is not None else (2.0 / max(1, fan)) ** 0.5
        numbers = self._random.standard_normal(shape).astype(np.float32) * np.float32(size)
        return self.constant(numbers)

    def constant(self, array: npt.ArrayLike) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def conv(
        self, x: str, channels: int, filters: int, size: int, stride: int = 1, group: int = 1
    ) -> str:
        pad = size // 2
        weights = self.weight(filters, channels // group, size, size)
        return self.op(
            "Conv", x, weights, strides=[stride] * 2, pads=[pad] * 4, group=group,
            kernel_shape=[size] * 2,
        )  # fmt: skip

    def norm(self, x: str, channels: int) -> str:
        ones = np.abs(self._random.standard_normal(channels)).astype(np.float32) * 0.2 + 0.9
        parts = [self.constant(ones.astype(np.float32)), self.weight(channels, scale=0.1)]
        parts += [self.weight(channels, scale=0.1), self.constant(ones.astype(np.float32))]
        return self.op("BatchNormalization", x, *parts)

    def conv_norm(
        self,
        x: str,
        channels: int,
        filters: int,
        size: int,
        stride: int = 1,
        group: int = 1,
        activation: str = "Relu",
    ) -> str:
        made = self.norm(self.conv(x, channels, filters, size, stride, group), filters)
        if activation == "Relu6":
            bounds = [self.constant(np.float32(0)), self.constant(np.float32(6))]
            return self.op("Clip", made, *bounds)
        return self.op(activation, made) if activation else made

    def linear(self, x: str, width: int, out: int) -> str:
        product = self.op("MatMul", x, self.weight(width, out, scale=width**-0.5))
        return self.op("Add", product, self.weight(out, scale=0.02))

    def model(self, inputs: Sequence[onnx.ValueInfoProto], output: str) -> bytes:
        graph = helper.make_graph(
            self.nodes, "walle", inputs, [onnx.ValueInfoProto(name=output)], self.weights
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return bytes(onnx.shape_inference.infer_shapes(made).SerializeToString())


def _picture(name: str = "x") -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 224, 224])


def _head(net: Net, x: str, channels: int) -> str:
    pooled = net.op("Flatten", net.op("GlobalAveragePool", x), axis=1)
    return net.op(
        "Gemm", pooled, net.weight(1000, channels), net.weight(1000, scale=0.01), transB=1
    )


def _resnet(blocks: Sequence[int], deep: bool) -> bytes:
    net = Net(50 if deep else 18)
    x = net.conv_norm("x", 3, 64, 7, 2)
    x = net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels, widen = 64, 4 if deep else 1
    for stage, count in enumerate(blocks):
        width = 64 << stage
        for i in range(count):
            stride = 2 if stage and i == 0 else 1
            rest = x
            if stride != 1 or channels != width * widen:
                rest = net.conv_norm(x, channels, width * widen, 1, stride, activation="")
            if deep:
                y = net.conv_norm(x, channels, width, 1)
                y = net.conv_norm(y, width, width, 3, stride)
                y = net.conv_norm(y, width, width * 4, 1, activation="")
            else:
                y = net.conv_norm(x, channels, width, 3, stride)
                y = net.conv_norm(y, width, width, 3, activation="")
            x = net.op("Relu", net.op("Add", y, rest))
            channels = width * widen
    return net.model([_picture()], _head(net, x, channels))


def resnet18() -> bytes:
    return _resnet((2, 2, 2, 2), deep=False)


def resnet50() -> bytes:
    return _resnet((3, 4, 6, 3), deep=True)


def mobilenet_v2() -> bytes:
    net = Net(2)
    x, channels = net.conv_norm("x", 3, 32, 3, 2, activation="Relu6"), 32
    rows = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    for grow, filters, count, stride in rows:
        for i in range(count):
            wide, step = channels * grow, stride if i == 0 else 1
            y = net.conv_norm(x, channels, wide, 1, activation="Relu6") if grow > 1 else x
            y = net.conv_norm(y, wide, wide, 3, step, group=wide, activation="Relu6")
            y = net.conv_norm(y, wide, filters, 1, activation="")
            x = net.op("Add", x, y) if step == 1 and channels == filters else y
            channels = filters
    return net.model(
        [_picture()], _head(net, net.conv_norm(x, 320, 1280, 1, activation="Relu6"), 1280)
    )


def squeezenet() -> bytes:
    net = Net(11)

    def plain(x: str, channels: int, filters: int, size: int, stride: int = 1) -> str:
        made = net.op(
            "Add",
            net.conv(x, channels, filters, size, stride),
            net.constant(np.zeros((filters, 1, 1), np.float32)),
        )
        return net.op("Relu", made)

    def pool(x: str) -> str:
        return net.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)

    x, channels = pool(plain("x", 3, 64, 3, 2)), 64
    for squeeze, filters, pooled in (
        (16, 64, 0),
        (16, 64, 1),
        (32, 128, 0),
        (32, 128, 1),
        (48, 192, 0),
        (48, 192, 0),
        (64, 256, 0),
        (64, 256, 0),
    ):
        y = plain(x, channels, squeeze, 1)
        x = net.op("Concat", plain(y, squeeze, filters, 1), plain(y, squeeze, filters, 3), axis=1)
        channels = 2 * filters
        x = pool(x) if pooled else x
    x = net.op("GlobalAveragePool", plain(x, 512, 1000, 1))
    return net.model([_picture()], net.op("Flatten", x, axis=1))


def shufflenet_v2() -> bytes:
    net = Net(3)

    def shuffle(x: str, channels: int, side: int) -> str:
        split = net.op("Reshape", x, net.constant(np.array([1, 2, channels // 2, side, side])))
        turned = net.op("Transpose", split, perm=[0, 2, 1, 3, 4])
        return net.op("Reshape", turned, net.constant(np.array([1, channels, side, side])))

    x = net.op(
        "MaxPool",
        net.conv_norm("x", 3, 24, 3, 2),
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1] * 4,
    )
    channels, side = 24, 56
    for filters, count in ((116, 4), (232, 8), (464, 4)):
        half = filters // 2
        side //= 2
        left = net.conv_norm(x, channels, channels, 3, 2, group=channels, activation="")
        left = net.conv_norm(left, channels, half, 1)
        right = net.conv_norm(
            net.conv_norm(x, channels, half, 1), half, half, 3, 2, group=half, activation=""
        )
        x = shuffle(
            net.op("Concat", left, net.conv_norm(right, half, half, 1), axis=1), filters, side
        )
        for _ in range(count - 1):
            name = f"t{len(net.nodes)}"
            net.nodes.append(helper.make_node("Split", [x], [f"{name}a", f"{name}b"], axis=1))
            y = net.conv_norm(f"{name}b", half, half, 1)
            y = net.conv_norm(
                net.conv_norm(y, half, half, 3, group=half, activation=""), half, half, 1
            )
            x = shuffle(net.op("Concat", f"{name}a", y, axis=1), filters, side)
        channels = filters
    return net.model([_picture()], _head(net, net.conv_norm(x, 464, 1024, 1), 1024))


def bert(layers: int = 12, width: int = 768, heads: int = 12, tokens: int = 256) -> bytes:
    """An encoder with a head that marks spans; shapes of reshapes are computed as exporters write them."""
    net = Net(10)

    def normalised(x: str) -> str:
        mean = net.op("ReduceMean", x, axes=[-1], keepdims=1)
        centred = net.op("Sub", x, mean)
        square = net.op("Pow", centred, net.constant(np.float32(2)))
        spread = net.op(
            "Sqrt",
            net.op(
                "Add",
                net.op("ReduceMean", square, axes=[-1], keepdims=1),
                net.constant(np.float32(1e-12)),
            ),
        )
        scaled = net.op(
            "Mul", net.op("Div", centred, spread), net.constant(np.ones(width, np.float32))
        )
        return net.op("Add", scaled, net.weight(width, scale=0.02))

    def split_heads(x: str, perm: Sequence[int]) -> str:
        shape = net.op("Shape", x)
        sizes = [
            net.op(
                "Unsqueeze",
                net.op("Gather", shape, net.constant(np.array(i)), axis=0),
                net.constant(np.array([0])),
            )
            for i in (0, 1)
        ]
        wanted = net.op(
            "Concat",
            *sizes,
            net.constant(np.array([heads])),
            net.constant(np.array([width // heads])),
            axis=0,
        )
        return net.op("Transpose", net.op("Reshape", x, wanted), perm=list(perm))

    def gelu(x: str) -> str:
        erf = net.op("Erf", net.op("Div", x, net.constant(np.float32(2**0.5))))
        return net.op(
            "Mul",
            net.op("Mul", x, net.op("Add", erf, net.constant(np.float32(1)))),
            net.constant(np.float32(0.5)),
        )

    x = net.op("Gather", net.weight(3000, width, scale=0.05), "ids", axis=0)
    x = normalised(net.op("Add", x, net.weight(tokens, width, scale=0.05)))
    mask = net.op(
        "Cast", net.op("Unsqueeze", "mask", net.constant(np.array([1, 2]))), to=TensorProto.FLOAT
    )
    mask = net.op(
        "Mul", net.op("Sub", net.constant(np.float32(1)), mask), net.constant(np.float32(-1e4))
    )
    for _ in range(layers):
        q, k, v = (net.linear(x, width, width) for _ in range(3))
        scores = net.op("MatMul", split_heads(q, (0, 2, 1, 3)), split_heads(k, (0, 2, 3, 1)))
        scores = net.op(
            "Add", net.op("Div", scores, net.constant(np.float32((width // heads) ** 0.5))), mask
        )
        context = net.op("MatMul", net.op("Softmax", scores, axis=-1), split_heads(v, (0, 2, 1, 3)))
        context = net.op("Transpose", context, perm=[0, 2, 1, 3])
        context = net.op("Reshape", context, net.constant(np.array([0, 0, width])))
        x = normalised(net.op("Add", net.linear(context, width, width), x))
        x = normalised(
            net.op("Add", net.linear(gelu(net.linear(x, width, 4 * width)), 4 * width, width), x)
        )
    ids, seen = (
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", tokens])
        for name in ("ids", "mask")
    )
    return net.model([ids, seen], net.linear(x, width, 2))


def din() -> bytes:
    """Deep Interest Network: a history weighed by how much each item is like the candidate, then three layers."""
    net, width, length = Net(5), 32, 100
    target = net.op("Expand", "target", net.constant(np.array([1, length, width])))
    parts = ["history", target, net.op("Sub", "history", target), net.op("Mul", "history", target)]
    y = net.op("Sigmoid", net.linear(net.op("Concat", *parts, axis=2), 4 * width, 80))
    y = net.op("Sigmoid", net.linear(y, 80, 40))
    weights = net.op("Transpose", net.linear(y, 40, 1), perm=[0, 2, 1])
    seen = net.op("Squeeze", net.op("MatMul", weights, "history"), net.constant(np.array([1])))
    x = net.op("Concat", seen, net.op("Squeeze", "target", net.constant(np.array([1]))), axis=1)
    for wide, out in ((2 * width, 200), (200, 80)):
        x = net.op("PRelu", net.linear(x, wide, out), net.weight(out, scale=0.25))
    history, one = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, n, width])
        for name, n in (("history", length), ("target", 1))
    )
    return net.model([history, one], net.op("Sigmoid", net.linear(x, 80, 1)))


MODELS: dict[str, Callable[[], bytes]] = {
    "resnet18": resnet18,
    "resnet50": resnet50,
    "mobilenet_v2": mobilenet_v2,
    "squeezenet": squeezenet,
    "shufflenet_v2": shufflenet_v2,
    "bert": bert,
    "din": din,
}


def feeds_of(data: bytes, seed: int = 0) -> dict[str, Array]:
    """Inputs for a model: pictures and histories as noise, token ids, a mask with an end."""
    random = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for port in onnx.load_model_from_string(data).graph.input:
        shape = [dim.dim_value or 1 for dim in port.type.tensor_type.shape.dim]
        if port.name == "ids":
            made[port.name] = random.integers(0, 3000, shape)
        elif port.name == "mask":
            made[port.name] = (np.arange(shape[1]) < shape[1] - 30).astype(np.int64)[None]
        else:
            made[port.name] = random.standard_normal(shape).astype(np.float32)
    return made
