"""Errors of the engine's Python side.

    ShoalError
    └── EngineError
        ├── ModelInvalid       outside: the file is damaged, or cannot be
        └── ModelUnsupported   outside: the file is for another engine

The `_core` module raises errors of its own with the same names and codes: it loads where this package does not.
"""

from typing import ClassVar

from device_agent.errors import ShoalError


class EngineError(ShoalError):
    """Something about a model."""


class ModelInvalid(EngineError):
    """The bytes are not a model, were damaged, or describe a graph that cannot be."""

    code: ClassVar[str] = "MODEL_INVALID"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class TrainingRefused(EngineError):
    """A model, its targets or its parameters cannot be trained as asked."""

    code: ClassVar[str] = "TRAINING_REFUSED"
    status: ClassVar[str] = "INVALID_ARGUMENT"


class ModelUnsupported(EngineError):
    """The model is of another version or op set, or needs an operator that this engine does not have."""

    code: ClassVar[str] = "MODEL_UNSUPPORTED"
    status: ClassVar[str] = "FAILED_PRECONDITION"
