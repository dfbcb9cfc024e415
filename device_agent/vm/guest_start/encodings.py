"""The `encodings` package of a VM while its interpreter is made: enough for three streams that the boot replaces.

Rules of this module:

- Every name finds a codec, because only names and attributes of it are looked at, and nothing is encoded.
"""

# It stands in for a package that stubs describe as whole, so types cannot help here.
# mypy: ignore-errors
import _codecs


class _Coder:
    def __init__(self, errors: str) -> None:
        self.errors = errors

    def setstate(self, _state: object) -> None:
        """A stream that is not at its start calls it."""


class _Codec(tuple):
    incrementaldecoder = incrementalencoder = _Coder


def search_function(encoding: str) -> tuple[None, ...]:
    """A codec of that name that encodes nothing."""
    codec = _Codec((None, None, None, None))
    codec.name = encoding.replace("_", "-")
    return codec


_codecs.register(search_function)
