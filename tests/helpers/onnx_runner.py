"""Runs compiled models in a process that has what a device has: numpy, onnx and onnxruntime cannot be imported in it.

Rules of this module:

- Standard library and the engine only; as a script it reads requests until its input ends.
- A request is a file and tensors; an answer is an error's text (empty: none) and tensors. Lengths go before bytes.
"""

import struct
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

type Row = tuple[str, tuple[int, ...], bytes]

BARRED = ("numpy", "onnx", "onnxruntime", "ml_dtypes", "torch")


def _put(to: IO[bytes], data: bytes) -> None:
    to.write(struct.pack("<Q", len(data)))
    to.write(data)


def _get(source: IO[bytes]) -> bytes | None:
    head = source.read(8)
    return source.read(struct.unpack("<Q", head)[0]) if len(head) == 8 else None


def _put_rows(to: IO[bytes], rows: Sequence[Row]) -> None:
    to.write(struct.pack("<Q", len(rows)))
    for name, shape, data in rows:
        _put(to, name.encode())
        _put(to, struct.pack(f"<{len(shape)}q", *shape))
        _put(to, data)


def _get_rows(source: IO[bytes]) -> list[Row]:
    (count,) = struct.unpack("<Q", source.read(8))
    rows = []
    for _ in range(count):
        name, sizes, data = _get(source), _get(source), _get(source)
        assert name is not None
        assert sizes is not None
        assert data is not None
        rows.append((name.decode(), struct.unpack(f"<{len(sizes) // 8}q", sizes), data))
    return rows


def write_request(to: IO[bytes], file: bytes, rows: Sequence[Row]) -> None:
    """Asks for a run."""
    _put(to, file)
    _put_rows(to, rows)
    to.flush()


def read_answer(source: IO[bytes]) -> tuple[str, list[Row]]:
    """What came of it."""
    error = _get(source)
    if error is None:
        return "the runner ended", []
    return error.decode(), _get_rows(source)


class _Bar:
    """Refuses what a device does not have."""

    @staticmethod
    def find_spec(name: str, _path: object = None, _target: object = None) -> None:
        if name.partition(".")[0] in BARRED:
            raise ImportError(f"'{name}' cannot be imported here")


def _serve() -> None:
    sys.meta_path.insert(0, _Bar)  # it never finds anything
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from device_agent.engine import _core
    from device_agent.engine.model import parse_model

    source, to = sys.stdin.buffer, sys.stdout.buffer
    while (file := _get(source)) is not None:
        rows, made, error = _get_rows(source), [], ""
        try:
            tensors = [_core.frombuffer(data, name, shape) for name, shape, data in rows]  # type: ignore[arg-type]  # a dtype's name
            made = [(t.dtype, t.shape, t.tobytes()) for t in parse_model(file).run(tensors)]
        except Exception as fault:
            error = f"{type(fault).__name__}: {fault}"
        _put(to, error.encode())
        _put_rows(to, made)
        to.flush()
    assert not set(BARRED) & set(sys.modules)


if __name__ == "__main__":
    _serve()
