"""Keeps VMs warm per task version and gives each event one.

Rules of this module:

- One VM serves one key; a key has at most `spec.concurrency` of them, the pool at most `vms_max`. When all are taken,
  the idle VM of the least recently used key makes room.
- Events wait in one bounded queue, in order of arrival; one that cannot start does not hold up those behind it.
- A VM whose run was killed is not used again. One that does not end is left behind and takes nobody's place.
- A key that is retired finishes what runs and turns away what waits; used again, it starts afresh.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass

from device_agent.vm import _host
from device_agent.vm.errors import VmClosed, VmQueueFull
from device_agent.vm.interface import OK, RunResult, VmSpec
from device_agent.vm.machine import Hub, Vm, raise_if_not_made
from device_agent.vm.settings import VmSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolStats:
    """Numbers for metrics and tests: the first three of this pool, the others of the process."""

    vms: int
    idle: int
    waiting: int
    created_total: int
    killed_total: int
    quarantined: int
    quarantined_total: int


class _Group:
    """The places of one key; it outlives its entry in the pool while a retired VM still runs."""

    __slots__ = ("idle", "key", "places", "retired")

    def __init__(self, key: str) -> None:
        self.key = key
        self.idle: list[_Place] = []
        self.places = 0
        self.retired = False


class _Place:
    """The right to have one VM, and the VM once it is made."""

    __slots__ = ("group", "vm")

    def __init__(self, group: _Group) -> None:
        self.group = group
        self.vm: Vm | None = None


@dataclass(slots=True, eq=False)
class _Waiting:
    spec: VmSpec
    place: asyncio.Future[_Place]


class InterpreterPool:
    """A VmPool of interpreters in this process; `process.install()` must have been called."""

    def __init__(self, settings: VmSettings | None = None) -> None:
        self._settings = settings or VmSettings()
        self._hub: Hub | None = None
        self._groups: OrderedDict[str, _Group] = OrderedDict()  # least recently used first
        self._queue: deque[_Waiting] = deque()
        self._places = 0
        self._alive: dict[Vm, str] = {}
        self._closed = False

    async def run(self, spec: VmSpec, event: bytes) -> RunResult:
        """Runs one event in a VM of `spec.key`; see VmPool.run."""
        if self._closed:
            raise VmClosed("the pool is closed")
        place = None if self._queue else self._find_place(spec)
        if place is None:
            place = await self._wait_for_place(spec)
        try:
            if place.vm is None:
                result = await self._load(place, spec)
                if result.outcome != OK:
                    return result
            assert place.vm is not None
            return await place.vm.call(event)
        finally:
            self._release(place)

    async def retire(self, key: str) -> None:
        """Lets the key's running events finish, then ends its VMs; see VmPool.retire."""
        for waiting in [one for one in self._queue if one.spec.key == key]:
            self._queue.remove(waiting)
            _turn_away(waiting, f"{key} was retired")
        group = self._groups.pop(key, None)
        if group is None:
            return
        group.retired = True
        self._let_idle_go(group)
        ending = [vm for vm, its_key in self._alive.items() if its_key == key]
        longest_ms = max((vm.spec.limits.wall_ms for vm in ending), default=0)
        await _wait_ended(ending, self._settings.load_ms + longest_ms + self._settings.ended_ms)

    async def close(self) -> None:
        """Ends every VM; see VmPool.close."""
        self._closed = True
        while self._queue:
            _turn_away(self._queue.popleft(), "the pool is closed")
        for group in list(self._groups.values()):
            group.retired = True
            self._let_idle_go(group)
        self._groups.clear()
        if not await _wait_ended(self._alive, self._settings.close_ms):
            for vm in self._alive:
                vm.cancel_all()
            await _wait_ended(self._alive, self._settings.ended_ms)
        if self._hub is not None:
            self._hub.close()
            self._hub = None

    def stats(self) -> PoolStats:
        """Numbers of this moment."""
        counters = _host.counters()
        return PoolStats(
            vms=self._places,
            idle=sum(len(group.idle) for group in self._groups.values()),
            waiting=len(self._queue),
            created_total=counters["created"],
            killed_total=counters["killed"],
            quarantined=counters["quarantined_now"],
            quarantined_total=counters["quarantined"],
        )

    def _find_place(self, spec: VmSpec) -> _Place | None:
        group = self._groups.get(spec.key)
        if group is not None and group.idle:
            return group.idle.pop()
        if group is not None and group.places >= spec.concurrency:
            return None
        if not self._make_room():
            return None
        if group is None:
            group = self._groups[spec.key] = _Group(spec.key)
        group.places += 1
        self._places += 1
        return _Place(group)

    def _make_room(self) -> bool:
        if self._places < self._settings.vms_max:
            return True
        for group in self._groups.values():
            if group.idle:
                self._let_go(group.idle.pop(0))
                return True
        return False

    async def _wait_for_place(self, spec: VmSpec) -> _Place:
        if len(self._queue) >= self._settings.queue_events_max:
            raise VmQueueFull(f"{len(self._queue)} events wait for a VM already; try again later")
        waiting = _Waiting(spec, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._serve_queue()
        try:
            return await waiting.place
        except asyncio.CancelledError:
            if waiting.place.done() and not waiting.place.cancelled():
                self._release(waiting.place.result())
            elif waiting in self._queue:
                self._queue.remove(waiting)
            raise

    def _serve_queue(self) -> None:
        blocked: deque[_Waiting] = deque()
        blocked_keys: set[str] = set()
        while self._queue:
            waiting = self._queue.popleft()
            if waiting.place.done():
                continue  # cancelled meanwhile
            key = waiting.spec.key
            place = None if key in blocked_keys else self._find_place(waiting.spec)
            if place is None:
                blocked.append(waiting)
                blocked_keys.add(key)
            else:
                waiting.place.set_result(place)
        self._queue = blocked

    async def _load(self, place: _Place, spec: VmSpec) -> RunResult:
        if self._hub is None:
            self._hub = Hub()
        vm = self._hub.create(spec, load_ms=self._settings.load_ms, on_ended=self._forget)
        place.vm = vm
        self._alive[vm] = spec.key
        try:
            result = await vm.ready
        except asyncio.CancelledError:
            vm.cancel_all()
            raise
        raise_if_not_made(spec.key, result)
        return result

    def _release(self, place: _Place) -> None:
        group = place.group
        if place.vm is None or place.vm.spent or group.retired:
            self._let_go(place)
        else:
            group.idle.append(place)
            self._groups.move_to_end(group.key)
        if self._queue:
            self._serve_queue()

    def _let_go(self, place: _Place) -> None:
        if place.vm is not None:
            place.vm.close()
        place.group.places -= 1
        self._places -= 1
        if place.group.places == 0 and self._groups.get(place.group.key) is place.group:
            del self._groups[place.group.key]

    def _let_idle_go(self, group: _Group) -> None:
        while group.idle:
            self._let_go(group.idle.pop())
        self._serve_queue()

    def _forget(self, vm: Vm) -> None:
        self._alive.pop(vm, None)


def _turn_away(waiting: _Waiting, why: str) -> None:
    if not waiting.place.done():
        waiting.place.set_exception(VmClosed(why))


async def _wait_ended(vms: Iterable[Vm], timeout_ms: int) -> bool:
    ending = [vm.ended for vm in vms]
    if not ending:
        return True
    _, left = await asyncio.wait(ending, timeout=timeout_ms / 1000)
    return not left
