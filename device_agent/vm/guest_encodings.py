"""The `encodings` package of a VM: small, without the table of aliases; imported when a codec is first looked up.

Rules of this module:

- It knows the encodings that a task may use, by the names that people write; any other is unknown.
- It never loads in the main interpreter, which has its own.
"""

# It stands in for a package that stubs describe as whole, so types cannot help here.
# mypy: ignore-errors
_MODULES = {
    "utf_8": "utf_8",
    "utf8": "utf_8",
    "u8": "utf_8",
    "ascii": "ascii",
    "us_ascii": "ascii",
    "646": "ascii",
    "latin_1": "latin_1",
    "latin1": "latin_1",
    "latin": "latin_1",
    "l1": "latin_1",
    "iso8859_1": "latin_1",
    "iso_8859_1": "latin_1",
    "utf_16": "utf_16",
    "utf16": "utf_16",
    "utf_16_le": "utf_16_le",
    "utf_16_be": "utf_16_be",
    "utf_32": "utf_32",
    "utf32": "utf_32",
}


class CodecRegistryError(LookupError, SystemError):
    """Named by modules that import it; never raised here."""


def normalize_encoding(encoding: str | bytes) -> str:
    """The name as modules spell it."""
    text = encoding.decode("ascii") if isinstance(encoding, bytes) else encoding
    return "_".join("".join(c if c.isalnum() or c == "." else " " for c in text).split())


def search_function(encoding: str) -> object:
    """The codec of that name, or None."""
    name = _MODULES.get(normalize_encoding(encoding).lower())
    if name is None:
        return None
    return __import__(f"encodings.{name}", None, None, ["getregentry"]).getregentry()
