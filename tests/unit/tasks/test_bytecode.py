"""code.bin: round trips, golden bytes, and everything that is refused."""

import marshal
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.tasks.bytecode import (
    decode_bytecode,
    encode_bytecode,
    python_tag,
    running_magic,
)
from device_agent.tasks.errors import BytecodeForAnotherPython, BytecodeInvalid

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,9}(\.[a-z_][a-z0-9_]{0,9}){0,2}", fullmatch=True)
WHOLE = encode_bytecode({"main": b"code", "pkg.part": b"more"}, 7)


@given(st.dictionaries(NAMES, st.binary(max_size=100), min_size=1, max_size=8))
def test_modules_come_back(modules: dict[str, bytes]) -> None:
    assert decode_bytecode(encode_bytecode(modules, 7), 7) == modules


def test_the_same_modules_are_the_same_bytes() -> None:
    assert encode_bytecode({"pkg.part": b"more", "main": b"code"}, 7) == WHOLE


def test_golden_bytes() -> None:
    assert (
        encode_bytecode({"m": b"\x01"}, 3571).hex()
        == "534842430100f30d010000002e2980c50100010000006d01"
    )


def test_it_is_for_this_python_by_default() -> None:
    code = marshal.dumps(compile("x = 1", "main.py", "exec"))
    assert decode_bytecode(encode_bytecode({"main": code}, running_magic())) == {"main": code}
    assert python_tag() == f"cpython-313-{running_magic()}"
    with pytest.raises(BytecodeForAnotherPython, match="7"):
        decode_bytecode(WHOLE)


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_every_flipped_byte_is_seen(place: int, flip: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[place] ^= flip
    with pytest.raises((BytecodeInvalid, BytecodeForAnotherPython)):
        decode_bytecode(bytes(damaged), 7)


@given(st.integers(0, len(WHOLE) - 1))
def test_every_cut_is_seen(length: int) -> None:
    with pytest.raises(BytecodeInvalid):
        decode_bytecode(WHOLE[:length], 7)


@pytest.mark.parametrize("name", ["", "1a", "a..b", "a/b", "a.", "ä", "x" * 201])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(BytecodeInvalid):
        encode_bytecode({name: b""}, 7)


def test_rows_that_do_not_fit_the_header() -> None:
    import zlib

    body = struct.pack("<HI", 1, 100) + b"a"
    header = struct.pack("<4sBBHII", b"SHBC", 1, 0, 7, 1, zlib.crc32(body))
    with pytest.raises(BytecodeInvalid, match="ends inside"):
        decode_bytecode(header + body, 7)
    twice = (struct.pack("<HI", 1, 0) + b"a") * 2
    header = struct.pack("<4sBBHII", b"SHBC", 1, 0, 7, 2, zlib.crc32(twice))
    with pytest.raises(BytecodeInvalid, match="do not fit"):
        decode_bytecode(header + twice, 7)
    with pytest.raises(BytecodeInvalid, match="modules"):
        encode_bytecode({}, 7)
