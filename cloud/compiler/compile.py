"""ONNX bytes to the bytes of a model file.

Rules of this module:

- Everything that stands in the way is reported at once, with the names of the nodes.
- What is written was read back by the engine itself, which checks shapes and types of every operator.
- A file appears whole or not at all.
"""

import os
import tempfile
from pathlib import Path

from cloud.compiler.errors import OnnxInvalid, OnnxUnsupported, UnsupportedNode
from cloud.compiler.folding import FOLDED, folded
from cloud.compiler.lowering import Lowering, Refused
from cloud.compiler.rules import RULES, Rule
from cloud.compiler.settings import LIMITS
from cloud.compiler.source import Node, Source, read_onnx
from device_agent.engine import _core
from device_agent.engine.errors import ModelInvalid
from device_agent.engine.format import encode_model
from device_agent.failpoint import failpoint


def compile_onnx(data: bytes) -> bytes:
    """The model file of an ONNX model.

    Raises:
        OnnxInvalid: the bytes are not a valid ONNX model.
        OnnxUnsupported: the model needs what the op set does not have; its `operators` lists where.
    """
    source = read_onnx(data)
    try:
        to = Lowering(source)
    except Refused as refusal:
        raise OnnxUnsupported(str(refusal)) from refusal
    problems = _lower_all(to, _needed(source))
    if problems:
        raise OnnxUnsupported(f"{len(problems)} nodes cannot be compiled:", problems)
    try:
        compiled = encode_model(to.graph())
        _core.parse_model(compiled)
    except (Refused, ModelInvalid, _core.ModelInvalid) as error:
        raise OnnxInvalid(f"the graph does not fit together: {error}") from error
    return compiled


def _needed(source: Source) -> list[Node]:
    """The nodes that an output depends on, in order."""
    wanted = set(source.outputs)
    needed = []
    for node in reversed(source.nodes):
        if wanted.intersection(node.outputs):
            needed.append(node)
            wanted.update(node.inputs)
    return needed[::-1]


def _lower_all(to: Lowering, nodes: list[Node]) -> list[UnsupportedNode]:
    """Lowers the nodes in order; says which stand in the way, not which only hang on those."""
    problems: list[UnsupportedNode] = []
    missing: set[str] = set()
    for node in nodes:
        try:
            rule = _rule(node)
            if missing.isdisjoint(node.inputs):
                _lower(to, node, rule)
            else:
                missing.update(node.outputs)
        except Refused as refusal:
            missing.update(node.outputs)
            row = UnsupportedNode(operator=node.operator, node=node.label, reason=str(refusal))
            problems.append(row)
    return problems


def _rule(node: Node) -> Rule | None:
    """The rule of a node's operator; None for what only folding knows."""
    if node.proto.domain not in ("", "ai.onnx"):
        raise Refused(f"operators of domain '{node.proto.domain}' are not supported")
    if node.operator not in RULES and node.operator not in FOLDED:
        raise Refused("the op set has no such operator")
    return RULES.get(node.operator)


def _lower(to: Lowering, node: Node, rule: Rule | None) -> None:
    value = folded(node, to.constants, to.source.opset)
    if value is not None:
        to.constants[node.outputs[0]] = value
    elif rule is None:
        raise Refused("it can only be computed from constants")
    elif any(node.outputs[1:]):
        raise Refused("only its first output can be had")
    else:
        try:
            rule(to, node)
        except (ValueError, IndexError, TypeError) as error:
            raise Refused(f"its constants do not fit it: {error}") from error


def compile_file(source: Path, destination: Path) -> int:
    """Compiles a file into another, which appears whole or not at all.

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
    compiled = compile_onnx(source.read_bytes())
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
