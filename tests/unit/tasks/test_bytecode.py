"""code.bin: round trip, and everything that must be refused before it is unmarshalled."""

import binascii

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.tasks.bytecode import (
    HEADER,
    decode_bytecode,
    encode_bytecode,
    python_tag,
    running_magic,
)
from device_agent.tasks.errors import BytecodeForAnotherPython, BytecodeInvalid

MAGIC = 3571
GOLDEN = bytes.fromhex(
    "5348424301000000f30d00000100000013b658fa" + "0400" + "03000000" + "6d61696e" + "616263"
)
modules = st.dictionaries(
    st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,8}){0,2}", fullmatch=True),
    st.binary(max_size=64),
    min_size=1,
    max_size=8,
)


@pytest.mark.slow
@given(modules)
def test_round_trip(given_modules: dict[str, bytes]) -> None:
    assert decode_bytecode(encode_bytecode(given_modules, MAGIC), MAGIC) == given_modules


def test_golden_bytes() -> None:
    assert encode_bytecode({"main": b"abc"}, MAGIC) == GOLDEN


def test_the_tag_names_the_running_interpreter() -> None:
    assert python_tag().endswith(f"-{running_magic()}")


def test_another_python_is_refused() -> None:
    with pytest.raises(BytecodeForAnotherPython, match="sync again"):
        decode_bytecode(GOLDEN, MAGIC + 1)


@given(st.integers(0, len(GOLDEN) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused(at: int, by: int) -> None:
    damaged = bytearray(GOLDEN)
    damaged[at] ^= by
    with pytest.raises((BytecodeInvalid, BytecodeForAnotherPython)):
        decode_bytecode(bytes(damaged), MAGIC)


@given(st.integers(0, len(GOLDEN) - 1))
def test_a_cut_file_is_refused(size: int) -> None:
    with pytest.raises(BytecodeInvalid):
        decode_bytecode(GOLDEN[:size], MAGIC)


@pytest.mark.parametrize(
    ("count", "body"),
    [
        (2, b"\x04\x00\x03\x00\x00\x00mainabc"),
        (1, b"\x04\x00\x03\x00\x00\x00mainabcX"),
        (1, b"\x04\x00\xff\x00\x00\x00mainabc"),
        (1, b"\x01\x00\x00\x00\x00\x00\xff"),
        (2, b"\x01\x00\x00\x00\x00\x00a\x01\x00\x00\x00\x00\x00a"),
    ],
)
def test_a_wrong_inside_is_refused_though_its_checksum_holds(count: int, body: bytes) -> None:
    header = HEADER.pack(b"SHBC", 1, 0, MAGIC, count, binascii.crc32(body))
    with pytest.raises(BytecodeInvalid):
        decode_bytecode(header + body, MAGIC)
