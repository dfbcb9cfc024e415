"""Errors of compiling a model: the caller's fault, and what to change.

ShoalError
└── EngineError
    ├── ModelInvalid
    │   └── OnnxInvalid        the bytes are not a valid ONNX model
    └── ModelUnsupported
        └── OnnxUnsupported    it is valid, and needs something that our op set does not have
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cloud.compiler.settings import LIMITS
from device_agent.engine.errors import ModelInvalid, ModelUnsupported


class OnnxInvalid(ModelInvalid):
    """The bytes are not a valid ONNX model; the message says what the ONNX checker found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsupportedNode:
    """One node that cannot be compiled."""

    operator: str
    node: str
    reason: str

    def __str__(self) -> str:
        return f"{self.operator} at '{self.node}': {self.reason}"


class OnnxUnsupported(ModelUnsupported):
    """The model needs what the op set does not have.

    Attributes:
        operators: Every node that cannot be compiled, in the graph's order.
    """

    def __init__(self, message: str, operators: Sequence[UnsupportedNode] = ()) -> None:
        self.operators = tuple(operators)
        shown = [str(node) for node in self.operators[: LIMITS.reported_max]]
        if len(self.operators) > len(shown):
            shown.append(f"and {len(self.operators) - len(shown)} more")
        super().__init__("\n  ".join([message, *shown]))
