"""code.bin: the compiled modules of a task in one file, for one build of Python.

Rules of this module:

- Little-endian, versioned, bounded, checksummed; unknown versions and another interpreter's magic number are refused
  before anything is unmarshalled: marshal trusts its input.
- Modules are sorted by name, so the same modules give the same bytes.

Layout: magic 4s "SHBC" | version u16 | reserved u16 | Python magic u32 | modules u32 | crc32 of the rest u32, then for
each module: length of its name u16 | length of its code u32 | name (UTF-8) | marshalled code.
"""

import binascii
import importlib.util
import struct
import sys
from collections.abc import Mapping

from device_agent.tasks.errors import BytecodeForAnotherPython, BytecodeInvalid

HEADER = struct.Struct("<4sHHIII")
ENTRY = struct.Struct("<HI")
MODULES_MAX = 512
BYTES_MAX = 16 * 1024 * 1024
_MAGIC = b"SHBC"
_VERSION = 1
assert HEADER.size == 20


def running_magic() -> int:
    """Magic number of the interpreter that runs this."""
    return int.from_bytes(importlib.util.MAGIC_NUMBER[:2], "little")


def python_tag() -> str:
    """Bytecode tag of the interpreter that runs this, e.g. "cpython-313-3571"."""
    return f"{sys.implementation.cache_tag}-{running_magic()}"


def encode_bytecode(modules: Mapping[str, bytes], magic: int) -> bytes:
    """Writes the container.

    Args:
        modules: Name ("main", "package.module") to marshalled code object.
        magic: Magic number of the Python that compiled them.
    """
    assert 0 < len(modules) <= MODULES_MAX, "the registry bounds the number of modules"
    parts = []
    for name in sorted(modules):
        encoded = name.encode()
        parts += [ENTRY.pack(len(encoded), len(modules[name])), encoded, modules[name]]
    body = b"".join(parts)
    return HEADER.pack(_MAGIC, _VERSION, 0, magic, len(modules), binascii.crc32(body)) + body


def decode_bytecode(data: bytes, magic: int | None = None) -> dict[str, bytes]:
    """Reads the container.

    Args:
        data: Content of code.bin.
        magic: Magic number that the code must have; None is the running interpreter's.

    Raises:
        BytecodeInvalid: cut, damaged, too big or of an unknown version.
        BytecodeForAnotherPython: compiled for another interpreter.
    """
    if not HEADER.size <= len(data) <= BYTES_MAX:
        raise BytecodeInvalid(f"code.bin has {len(data)} bytes; it has 20 to {BYTES_MAX}")
    start, version, reserved, found, count, checksum = HEADER.unpack_from(data)
    if start != _MAGIC or version != _VERSION or reserved:
        raise BytecodeInvalid(f"not a code.bin of version {_VERSION}; update the agent")
    wanted = running_magic() if magic is None else magic
    if found != wanted:
        raise BytecodeForAnotherPython(
            f"code.bin was compiled for Python magic {found}, this VM has {wanted}; sync again for the right build"
        )
    if checksum != binascii.crc32(memoryview(data)[HEADER.size :]):
        raise BytecodeInvalid("checksum of code.bin does not match; download it again")
    return _entries(data, count)


def _entries(data: bytes, count: int) -> dict[str, bytes]:
    modules: dict[str, bytes] = {}
    at = HEADER.size
    for _ in range(count):
        if at + ENTRY.size > len(data):
            raise BytecodeInvalid("code.bin ends inside a module; download it again")
        name_bytes, code_bytes = ENTRY.unpack_from(data, at)
        at += ENTRY.size
        end = at + name_bytes + code_bytes
        if end > len(data):
            raise BytecodeInvalid("code.bin ends inside a module; download it again")
        try:
            name = data[at : at + name_bytes].decode()
        except UnicodeDecodeError:
            raise BytecodeInvalid("code.bin has a module name that is not UTF-8") from None
        modules[name] = data[at + name_bytes : end]
        at = end
    if at != len(data) or len(modules) != count:
        raise BytecodeInvalid(f"code.bin does not hold the {count} modules that it names")
    return modules
