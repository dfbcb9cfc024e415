"""A plan that torch runs, on a CPU or a CUDA device.

Rules of this module:

- The plan's spaces (arena, kept, literals, weights) are one tensor of bytes each, and its tensors are views of them:
  the planner's memory plan holds here too, and a raster is a copy between two strided views.
- Views are made once. torch has no negative strides: such an axis is viewed forwards and flipped when it is read.
- What torch or this table cannot do is refused when the session is made, by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from cloud.backends.torch_atoms import ATOMS, DTYPES
from device_agent.engine import _core
from device_agent.engine.backend import NotHere
from device_agent.engine.ops import DTYPE_NAMES, ITEM_BYTES
from device_agent.engine.plan.words import Command, PlanRows, Space, TensorRow, regions_of

ALIGNMENT_BYTES = 16  # of a space's end, so that a view of any dtype fits
_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_OF_WIDTH = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFFFFFF, 8: 0xFFFFFFFFFFFFFFFF}


class View(NamedTuple):
    """A strided view, and the axes that are read backwards."""

    tensor: torch.Tensor
    flipped: list[int]

    def read(self) -> torch.Tensor:
        """The elements in order."""
        return self.tensor.flip(self.flipped) if self.flipped else self.tensor


class TorchSession:
    """One plan with its memory."""

    def __init__(self, rows: PlanRows, weights: torch.Tensor, device: torch.device) -> None:
        self._rows = rows
        self._spaces = {
            Space.ARENA: _room(rows.arena_bytes, device),
            Space.KEPT: _room(rows.kept_bytes, device),
            Space.LITERAL: bytes_on(rows.literals, device),
            Space.WEIGHTS: weights,
        }
        self._inputs = [self._view(index).tensor for index in rows.inputs]
        self._outputs = [self._view(index).tensor for index in rows.outputs]
        with torch.inference_mode():
            for command in rows.prologue:
                self._step(command)()
            self._body = [self._step(command) for command in rows.body]

    def run(self, inputs: Sequence[_core.Tensor], /) -> list[_core.Tensor]:
        """The outputs; raises ValueError where the numbers do not allow a step."""
        with torch.inference_mode():
            for into, tensor in zip(self._inputs, inputs, strict=True):
                flat = bytes_on(tensor.tobytes(), into.device)[: into.nbytes]
                into.copy_(flat.view(into.dtype).view(into.shape))
            for step in self._body:
                step()
            return [
                self._taken(tensor, index)
                for tensor, index in zip(self._outputs, self._rows.outputs, strict=True)
            ]

    def _taken(self, tensor: torch.Tensor, index: int) -> _core.Tensor:
        row = self._rows.tensors[index]
        data = bytes(tensor.contiguous().flatten().view(torch.uint8).cpu().numpy())
        return _core.frombuffer(data, DTYPE_NAMES[row.dtype], row.shape)  # type: ignore[arg-type]  # a dtype's name

    def _view(self, index: int) -> View:
        row = self._rows.tensors[index]
        if row.dtype not in DTYPES:
            raise NotHere(f"torch does not compute with {row.dtype.name.lower()}")
        width = ITEM_BYTES[row.dtype]
        flat = self._spaces[row.space].view(DTYPES[row.dtype])
        return _strided(flat, row.offset // width, row.shape, row.strides)

    def _step(self, command: Command) -> Callable[[], None]:
        if command.op == "raster":
            return self._raster(command)
        atom = ATOMS.get(command.op)
        results = [self._view(index).tensor for index in command.outputs]
        if atom is None or any(result.numel() for result in results[1:]):
            raise NotHere(f"torch has no {command.op} here")
        views = [self._view(index) for index in command.inputs]
        into, words = results[0], command.attributes

        def step() -> None:
            into.copy_(atom([view.read() for view in views], words))

        return step

    def _raster(self, command: Command) -> Callable[[], None]:
        out = self._integers(self._rows.tensors[command.outputs[0]])
        given = [self._integers(self._rows.tensors[index]) for index in command.inputs]
        moves = []
        for region in regions_of(command):
            source = _strided(
                given[region.source], region.source_start, region.sizes, region.source_strides
            )
            into = _strided(out, region.start, region.sizes, region.strides)
            # Turning an axis of both round moves the same elements; only the source can be read backwards.
            flips = sorted(set(source.flipped) ^ set(into.flipped))
            moves.append((into.tensor, View(source.tensor, flips)))
        fills, bits = command.attributes[0] != 0, _signed(command.attributes[1], out.itemsize)

        def step() -> None:
            if fills:
                out.fill_(bits)
            for into, source in moves:
                into.copy_(source.read())

        return step

    def _integers(self, row: TensorRow) -> torch.Tensor:
        """A contiguous tensor's elements as integers of their width, in one axis."""
        width = ITEM_BYTES[row.dtype]
        count = 1
        for size in row.shape:
            count *= size
        part = self._spaces[row.space][row.offset : row.offset + count * width]
        return part.view(_INTEGERS[width])


def bytes_on(data: bytes | memoryview, device: torch.device) -> torch.Tensor:
    """A copy of bytes on a device, padded so that a view of any dtype fits."""
    padded = bytearray(data)
    padded.extend(bytes(-len(padded) % ALIGNMENT_BYTES or ALIGNMENT_BYTES))
    return torch.frombuffer(padded, dtype=torch.uint8).to(device)


def _room(size: int, device: torch.device) -> torch.Tensor:
    padded = (size // ALIGNMENT_BYTES + 1) * ALIGNMENT_BYTES
    return torch.zeros(padded, dtype=torch.uint8, device=device)


def _strided(flat: torch.Tensor, start: int, shape: Sequence[int], strides: Sequence[int]) -> View:
    flipped = [i for i, (n, s) in enumerate(zip(shape, strides, strict=True)) if s < 0 and n > 1]
    for i in flipped:
        start += strides[i] * (shape[i] - 1)
    forwards = [abs(stride) for stride in strides]
    return View(flat.as_strided(shape, forwards, flat.storage_offset() + start), flipped)


def _signed(bits: int, width: int) -> int:
    """Bits of one element as the signed integer of that width."""
    value = bits & _OF_WIDTH[width]
    return value - (1 << 8 * width) if value >> (8 * width - 1) else value
