"""The VM that plans models for all others: off the event loop, off the clock of the task that waits, once for all.

Rules of this module:

- It is a VM like any other, with limits of its own; what ends it is told to who asked, and the next asks another.
- Plans are kept by model, shapes and kernels, so that the VMs of a task, and those that come after them, share one.
- A task has plans made of the models of its own bundle, and of those that it sends.
- The first that is asked for has the machine's costs measured, once and beside it; plans until then go by its peak.
"""

import asyncio
import os
import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread, get_native_id

from shoal_task.event import Event as TaskEvent

from device_agent.engine.asking import TOPIC
from device_agent.vm.errors import VmClosed, VmCreateFailed
from device_agent.vm.interface import OK, Vm, VmLimits, VmSpec
from device_agent.vm.settings import VmSettings

KEY = "shoal.planner"
LOWEST_PRIORITY = 19

type _Plan = tuple[
    str, int, int, bytes
]  # path, its time and size, request; no path: the request holds the model


class Planner[V: Vm]:
    """Plans for the VMs of one pool."""

    def __init__(
        self, create: Callable[[VmSpec], V], settings: VmSettings, costs: Path | None
    ) -> None:
        """Keeps what it is given; the VM is made when it is first needed.

        Args:
            create: Makes a VM.
            settings: Its limits.
            costs: The file of what kernels cost on this machine; None goes by the peak alone.
        """
        self._costs = costs
        self._measuring: Thread | None = None
        self._closing = Event()
        self._create = create
        self._settings = settings
        self._vm: V | None = None
        self._turn = asyncio.Lock()
        self._kept: OrderedDict[_Plan, bytes] = OrderedDict()
        self._kept_bytes = 0
        self._pending: dict[_Plan, asyncio.Task[bytes]] = {}

    async def plan(self, asker: VmSpec, path: str, request: bytes) -> bytes:
        """The answer to a request; device_agent.engine.planner says what both are.

        Raises:
            ValueError: the model is not of the asker's bundle, or there is no planning it.
        """
        key = _key_of(asker, path, request)
        if self._costs is not None:
            work = (self._costs, self._closing.is_set)
            self._measuring = Thread(target=_measure, args=work, name="costs")
            self._measuring.start()
            self._costs = None
        kept = self._kept.get(key)
        if kept is not None:
            self._kept.move_to_end(key)
            return kept
        pending = self._pending.get(key)
        if pending is None:
            pending = self._pending[key] = asyncio.create_task(self._made(key))
            pending.add_done_callback(lambda _: self._pending.pop(key, None))
        return await asyncio.shield(pending)

    async def close(self) -> None:
        """Ends the VM; who waits for a plan is told that there will be none."""
        self._closing.set()
        if self._measuring is not None:  # it must not be in a kernel when the interpreter ends
            await asyncio.to_thread(self._measuring.join)
        vm, self._vm = self._vm, None
        if vm is not None:
            vm.cancel_all()
            vm.close()
            await asyncio.wait([vm.ended], timeout=self._settings.ended_ms / 1000)

    async def _made(self, key: _Plan) -> bytes:
        path, _, _, request = key
        async with self._turn:  # one after the other: planning takes a whole core
            answer = await self._asked(path.encode() + b"\0" + request)
        self._keep(key, answer)
        return answer

    async def _asked(self, request: bytes) -> bytes:
        try:
            vm = await self._ready()
            woken = TaskEvent(0, b"", uid=bytes(16)).to_bytes()
            result = await vm.call(woken, lambda _what, _data: request)
        except (VmClosed, VmCreateFailed) as error:
            raise ValueError(f"there is no planning now: {error}") from error
        if result.outcome != OK:
            raise ValueError(f"planning ended with {result.outcome}: {result.message}")
        (emit,) = result.emits
        return emit.payload

    async def _ready(self) -> V:
        if self._vm is None or self._vm.spent:
            self._vm = self._create(_spec(self._settings))
        loaded = await asyncio.shield(self._vm.ready)
        if loaded.outcome != OK:
            raise VmCreateFailed(f"{loaded.outcome}: {loaded.message}")
        return self._vm

    def _keep(self, key: _Plan, answer: bytes) -> None:
        self._kept[key] = answer
        self._kept_bytes += len(answer) + len(key[-1])
        while self._kept_bytes > self._settings.plans_kept_bytes_max:
            (_, _, _, request), oldest = self._kept.popitem(last=False)
            self._kept_bytes -= len(oldest) + len(request)


def _measure(costs: Path, stops: Callable[[], bool]) -> None:
    """In a thread that gets what nobody else wants."""
    from device_agent.engine.calibrate import use_costs  # only where a task has a model

    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, get_native_id(), LOWEST_PRIORITY)
    with suppress(OSError):  # a file that cannot be written is measured again by the next process
        use_costs(costs, stops)


def _key_of(asker: VmSpec, path: str, request: bytes) -> _Plan:
    if path == "":
        return path, 0, 0, request
    if path not in asker.resources.values():
        raise ValueError("a task has plans made of the models of its own bundle only")
    try:
        found = Path(path).stat()
    except OSError as error:
        raise ValueError(f"the model cannot be read: {error.strerror}") from error
    return path, found.st_mtime_ns, found.st_size, request


def _spec(settings: VmSettings) -> VmSpec:
    return VmSpec(
        key=KEY,
        modules={},
        entry="device_agent.engine.planner_task:on_event",
        resources={},
        emit_topics=frozenset({TOPIC}),
        limits=VmLimits(
            wall_ms=settings.plan_ms,
            memory_mib=settings.plan_memory_mib,
            engine_mib=settings.plan_memory_mib,
            output_bytes=settings.plan_bytes_max,
        ),
    )
