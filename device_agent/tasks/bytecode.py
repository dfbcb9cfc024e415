"""`code.bin`: the compiled modules of a task, for one Python.

Rules of this module:

- Little-endian, versioned, checksummed, bounded; what is unknown, cut or damaged is refused before it is unmarshalled.
- Modules are sorted by name, so that the same modules give the same bytes.
- The marshalled code is opaque here: whoever decodes never loads it, only a VM does.
- Compile in a fresh process: marshal's bytes depend on the reference counts of what has run before.

Layout:

    magic 4s "SHBC" | version u8 | reserved u8 | Python magic u16 | modules u32 | crc32 of the rest u32
    modules times: name length u16 | code length u32 | name (ASCII, dotted) | code
"""

import importlib.util
import re
import struct
import sys
import zlib
from collections.abc import Mapping

from device_agent.tasks.errors import BytecodeForAnotherPython, BytecodeInvalid

FILE_BYTES_MAX = 16 * 1024 * 1024
MODULES_MAX = 512
NAME_CHARS_MAX = 200
_HEADER = struct.Struct("<4sBBHII")
_ROW = struct.Struct("<HI")
_MAGIC = b"SHBC"
_VERSION = 1
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
assert _HEADER.size == 16


def running_magic() -> int:
    """Magic number of the bytecode that this interpreter runs."""
    return int.from_bytes(importlib.util.MAGIC_NUMBER[:2], "little")


def python_tag() -> str:
    """Names this interpreter's bytecode, e.g. "cpython-313-3571"."""
    return f"{sys.implementation.cache_tag}-{running_magic()}"


def encode_bytecode(modules: Mapping[str, bytes], magic: int) -> bytes:
    """The container of marshalled code objects by module name.

    Raises:
        BytecodeInvalid: there is no module, too much of them, or a name is none.
    """
    if not 0 < len(modules) <= MODULES_MAX:
        raise BytecodeInvalid(f"{len(modules)} modules; a task has 1 to {MODULES_MAX}")
    rows = []
    for name, code in sorted(modules.items()):
        _check_name(name)
        rows.append(_ROW.pack(len(name), len(code)) + name.encode("ascii") + code)
    body = b"".join(rows)
    if _HEADER.size + len(body) > FILE_BYTES_MAX:
        raise BytecodeInvalid(f"{len(body)} bytes of bytecode; a task has at most {FILE_BYTES_MAX}")
    return _HEADER.pack(_MAGIC, _VERSION, 0, magic, len(modules), zlib.crc32(body)) + body


def decode_bytecode(data: bytes, magic: int | None = None) -> dict[str, bytes]:
    """The marshalled code objects by module name.

    Args:
        data: The file's bytes.
        magic: Python magic number that it must be for; this interpreter's by default.

    Raises:
        BytecodeInvalid: it is cut, damaged, too big or of an unknown version.
        BytecodeForAnotherPython: it was compiled for another Python.
    """
    if not _HEADER.size <= len(data) <= FILE_BYTES_MAX:
        raise BytecodeInvalid(f"{len(data)} bytes are no bytecode file; publish the task again")
    start, version, reserved, made_for, count, checksum = _HEADER.unpack_from(data)
    if start != _MAGIC or version != _VERSION or reserved or count > MODULES_MAX:
        raise BytecodeInvalid("not a bytecode file of a version that this agent knows; update it")
    if zlib.crc32(memoryview(data)[_HEADER.size :]) != checksum:
        raise BytecodeInvalid("the bytecode file is damaged; fetch it again")
    expected = running_magic() if magic is None else magic
    if made_for != expected:
        raise BytecodeForAnotherPython(
            f"compiled for Python magic {made_for}, this device runs {expected}; publish for it, too"
        )
    return _rows(data, count)


def _rows(data: bytes, count: int) -> dict[str, bytes]:
    modules: dict[str, bytes] = {}
    place = _HEADER.size
    for _ in range(count):
        if place + _ROW.size > len(data):
            raise BytecodeInvalid("the bytecode file ends inside a module; fetch it again")
        name_length, code_length = _ROW.unpack_from(data, place)
        place += _ROW.size
        end = place + name_length + code_length
        if end > len(data):
            raise BytecodeInvalid("the bytecode file ends inside a module; fetch it again")
        name = data[place : place + name_length].decode("latin-1")
        _check_name(name)
        modules[name] = data[place + name_length : end]
        place = end
    if place != len(data) or len(modules) != count or list(modules) != sorted(modules):
        raise BytecodeInvalid("the bytecode file's modules do not fit its header; publish again")
    return modules


def _check_name(name: str) -> None:
    if len(name) > NAME_CHARS_MAX or not _NAME.fullmatch(name):
        raise BytecodeInvalid(f"{name!r} is not the dotted name of a module; rename it")
