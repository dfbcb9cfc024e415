"""torch as a backend of the engine: for models in the cloud, on a CPU or a CUDA device.

    import cloud.backends.torch_backend as torch_backend
    torch_backend.register_devices()
    model = load_model(path, backends=("core", "torch:cuda:0"))

Rules of this module:

- torch is not of the default install: `pip install shoal[torch]`. What imports this asks for it.
- P, B and S of a device are measured when its first model is opened, once for the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import median

import torch

from cloud.backends.torch_session import TorchSession, bytes_on
from device_agent.engine import _core
from device_agent.engine.backend import register
from device_agent.engine.plan.planned import Plan
from device_agent.engine.plan.words import PlanRows, read_plan
from device_agent.engine.plan.work import work_of

PRODUCT_SIDE = 1024  # of the matrices that P is measured with
STREAM_FLOATS = 1 << 24  # that B is measured with: past any cache
SMALL_CALLS = 200  # that S is measured with
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Rates:
    """A device's P, B and S.

    Attributes:
        flops_per_s: Floating-point operations a second in a product.
        bytes_per_s: Bytes a second, read and written.
        call_s: Seconds that a step costs beside its work.
    """

    flops_per_s: float
    bytes_per_s: float
    call_s: float


class TorchRunner:
    """One model on one device."""

    target = None

    def __init__(self, file: _core.Tensor, device: torch.device) -> None:
        self._device = device
        self._weights = bytes_on(memoryview(file), device)

    def seconds(self, rows: PlanRows) -> float:
        """What a run of these steps costs here, by the cost model."""
        rates = rates_of(self._device)
        return sum(
            work.flops / rates.flops_per_s + work.moved_bytes / rates.bytes_per_s + rates.call_s
            for _, work in work_of(rows)
        )

    def session(self, plan: Plan) -> TorchSession:
        """A session of the plan; raises NotHere where torch cannot run it."""
        return TorchSession(read_plan(plan.words), self._weights, self._device)


class TorchBackend:
    """torch on one device."""

    def __init__(self, device: torch.device) -> None:
        self.name = f"torch:{device}"
        self._device = device

    def runner(self, file: _core.Tensor, threads: int) -> TorchRunner:
        """The backend over a model file. A CPU's threads are torch's own setting, for the whole process."""
        if self._device.type == "cpu":
            torch.set_num_threads(threads)
        return TorchRunner(file, self._device)


def register_devices() -> list[str]:
    """Registers torch on the CPU and on every CUDA device; returns the names."""
    devices = [torch.device("cpu")]
    devices += [torch.device("cuda", i) for i in range(torch.cuda.device_count())]
    made = [TorchBackend(device) for device in devices]
    for backend in made:
        register(backend)
    return [backend.name for backend in made]


@cache
def rates_of(device: torch.device) -> Rates:
    """The device's rates, measured."""
    square = torch.ones(PRODUCT_SIDE, PRODUCT_SIDE, device=device)
    stream = torch.ones(STREAM_FLOATS, device=device)
    other, small = torch.empty_like(stream), torch.ones(16, device=device)

    def calls() -> None:
        for _ in range(SMALL_CALLS):
            torch.add(small, small)

    call_s = _seconds(calls, device) / SMALL_CALLS
    return Rates(
        flops_per_s=2 * PRODUCT_SIDE**3 / _seconds(lambda: torch.mm(square, square), device),
        bytes_per_s=2 * stream.nbytes / _seconds(lambda: other.copy_(stream), device),
        call_s=call_s,
    )


def _seconds(what: Callable[[], object], device: torch.device) -> float:
    """The median of a few rounds, after one that does not count."""
    taken = []
    for _ in range(ROUNDS + 1):
        begin = time.perf_counter()
        what()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - begin)
    return median(taken[1:])
