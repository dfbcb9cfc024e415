"""ONNX bytes to the bytes of a model file.

Rules of this module:

- Everything that stands in the way is reported at once, with the names of the nodes.
- What is written was read back; where all shapes are known it was planned too, so that what does not fit is found here.
- A file appears whole or not at all.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import onnx

from cloud.compiler.errors import OnnxInvalid, OnnxUnsupported, UnsupportedNode
from cloud.compiler.folding import FOLDED, folded
from cloud.compiler.lowering import Refused, Scope, Shared
from cloud.compiler.narrowing import Weights, narrowed
from cloud.compiler.rules import rule_of
from cloud.compiler.settings import LIMITS
from cloud.compiler.source import Known, Node, array_of, known_of, nodes_in, read_onnx
from cloud.compiler.trial import try_plan
from device_agent.engine.errors import ModelInvalid, ModelUnsupported
from device_agent.engine.format import encode_model
from device_agent.engine.graph import Graph, Port
from device_agent.engine.plan.planned import PlanError
from device_agent.failpoint import failpoint

CONTROL = {"If": "if", "Loop": "loop", "Scan": "scan"}


def compile_onnx(data: bytes, weights: Weights = Weights.FLOAT32) -> bytes:
    """The model file of an ONNX model.

    Args:
        data: The ONNX file.
        weights: How they are stored.

    Raises:
        OnnxInvalid: the bytes are not a valid ONNX model.
        OnnxUnsupported: the model needs what the op set does not have; its `operators` lists where.
    """
    versions: list[int] = []

    def is_ours(node: onnx.NodeProto) -> bool:
        if not versions:
            model = onnx.load_model_from_string(data)
            versions.extend(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
        return node.op_type in CONTROL or rule_of(node, versions[0]) is not None

    source = read_onnx(data, is_ours)
    compiler = _Compiler(Shared(source))
    scope = Scope(compiler.shared)
    compiler.lower(scope, nodes_in(source.graph, source.opset), source.outputs)
    if compiler.problems:
        raise OnnxUnsupported(
            f"{len(compiler.problems)} nodes cannot be compiled:", compiler.problems
        )
    try:
        graph = narrowed(scope.graph(), weights)
        try_plan(graph)
        return encode_model(graph)
    except Refused as refusal:
        raise OnnxUnsupported(str(refusal)) from refusal
    except (ModelInvalid, ModelUnsupported, PlanError) as error:
        raise OnnxInvalid(f"the graph does not fit together: {error}") from error


def _uses(node: onnx.NodeProto) -> set[str]:
    """The names that a node reads, those that its parts take from around them included."""
    names = set(node.input) - {""}
    for attribute in node.attribute:
        if attribute.HasField("g"):
            names |= _free(attribute.g)
    return names


def _free(graph: onnx.GraphProto) -> set[str]:
    made = {value.name for value in graph.input} | {t.name for t in graph.initializer}
    names: set[str] = set()
    for node in graph.node:
        names |= _uses(node) - made
        made.update(node.output)
    return names | ({value.name for value in graph.output} - made)


class _Compiler:
    """Lowers the model's graph and its parts; says which nodes stand in the way, not which only hang on those."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.problems: list[UnsupportedNode] = []
        self._missing: set[str] = set()

    def lower(self, scope: Scope, nodes: Sequence[Node], outputs: Sequence[str]) -> None:
        for node in _needed(nodes, outputs):
            try:
                known = node.operator in CONTROL or rule_of(node.proto, node.opset) is not None
                if not known and node.operator not in FOLDED:
                    raise Refused(_lacks(node))
                if self._missing.isdisjoint(_uses(node.proto)):
                    self._node(scope, node)
                else:
                    self._missing.update(node.outputs)
            except Refused as refusal:
                self._missing.update(node.outputs)
                reason = str(refusal)
                row = UnsupportedNode(operator=node.operator, node=node.label, reason=reason)
                self.problems.append(row)

    def _node(self, scope: Scope, node: Node) -> None:
        value = folded(node, self.shared.constants, node.opset)
        if value is not None:
            self.shared.constants[node.outputs[0]] = value
            return
        if node.operator in CONTROL:
            return self._control(scope, node)
        rule = rule_of(node.proto, node.opset)
        if rule is None:
            raise Refused("it can only be computed from constants")
        try:
            rule(scope, node)
        except (ValueError, IndexError, TypeError) as error:
            raise Refused(f"its constants do not fit it: {error}") from error

    def _control(self, scope: Scope, node: Node) -> None:
        """A part for each attribute that is a graph; the others as they are."""
        if node.operator == "Scan" and node.opset < 9:
            raise Refused("before operator set 9 it had another meaning")
        attributes: dict[str, Graph | int | tuple[int, ...]] = {}
        for attribute in node.proto.attribute:
            if attribute.HasField("g"):
                attributes[attribute.name] = self._part(node, attribute)
            elif attribute.type == onnx.AttributeProto.INTS:
                attributes[attribute.name] = tuple(int(i) for i in attribute.ints)
            else:
                attributes[attribute.name] = int(attribute.i)
        for name in _uses(node.proto):
            scope.use(name)
        scope.emit(CONTROL[node.operator], node.inputs, node.outputs, attributes)

    def _part(self, node: Node, attribute: onnx.AttributeProto) -> Graph:
        graph = attribute.g
        for tensor in graph.initializer:
            self.shared.constants[tensor.name] = array_of(tensor)
        for value in (*graph.value_info, *graph.input, *graph.output):
            self.shared.source.known.setdefault(value.name, known_of(value))
        part = Scope(self.shared)
        outputs = [value.name for value in graph.output]
        nodes = nodes_in(graph, node.opset, f"{node.label}/{attribute.name}/")
        self.lower(part, nodes, outputs)
        for name in outputs:
            part.use(name)
        return Graph(
            inputs=tuple(_port(value.name, known_of(value)) for value in graph.input),
            outputs=tuple(Port(name=name) for name in outputs),
            operators=tuple(part.operators),
        )


def _port(name: str, known: Known) -> Port:
    shape = None if known.shape is None else tuple(-1 if n is None else n for n in known.shape)
    return Port(name=name, dtype=known.dtype, shape=shape)


def _lacks(node: Node) -> str:
    if node.proto.domain not in ("", "ai.onnx"):
        return f"operators of domain '{node.proto.domain}' are not supported"
    return "the op set has no such operator"


def _needed(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    """The nodes that an output depends on, in order."""
    wanted = set(outputs)
    needed = []
    for node in reversed(nodes):
        if wanted.intersection(node.outputs):
            needed.append(node)
            wanted.update(_uses(node.proto))
    return needed[::-1]


def compile_file(source: Path, destination: Path, weights: Weights = Weights.FLOAT32) -> int:
    """Compiles a file into another, which appears whole or not at all.

    Args:
        source: An ONNX file.
        destination: Where the model file goes.
        weights: How they are stored.

    Returns:
        Bytes written.

    Raises:
        OnnxInvalid: the file is no valid ONNX model, or too big.
        OnnxUnsupported: as compile_onnx.
        OSError: a file cannot be read or written.
    """
    size = source.stat().st_size
    if size > LIMITS.onnx_bytes_max:
        raise OnnxInvalid(f"an ONNX model has at most {LIMITS.onnx_bytes_max} bytes, not {size}")
    compiled = compile_onnx(source.read_bytes(), weights)
    handle, name = tempfile.mkstemp(dir=destination.parent, prefix=f".{destination.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(compiled)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        failpoint("compiler.write.flushed")
        Path(name).replace(destination)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return len(compiled)
