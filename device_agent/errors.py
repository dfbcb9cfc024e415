"""The root of every error that Shoal raises on purpose.

Rules of this module:

- An error has a `code` that never changes once released, a gRPC status by name, and a message that says what to do
  next and echoes no secret. tests/architecture compares all of them with docs/reference/errors.md.
- Each package keeps its own errors.py, its tree drawn in the docstring, split by whose fault it is: the caller's,
  the peer's, the outside's, or ours.
"""

from typing import ClassVar


class ShoalError(Exception):
    """An error with a code from the catalogue.

    Attributes:
        code: UPPER_SNAKE name, unique in the project; travels in acknowledgements, API answers and metrics.
        status: Name of the gRPC status that a service answers with.
    """

    code: ClassVar[str] = "INTERNAL"
    status: ClassVar[str] = "INTERNAL"
