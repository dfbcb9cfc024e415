"""A VmPool that runs a bundle's bytecode in this interpreter, at once; nothing limits it."""

import marshal
from collections.abc import Callable

from shoal_task.event import Event

from device_agent.failpoint import failpoint
from device_agent.vm.errors import VmDeadlinePassed
from device_agent.vm.interface import (
    AT_ONCE,
    Answer,
    Emit,
    RunOrder,
    RunResult,
    VmSpec,
    Wear,
    answer_nothing,
)


class FakePool:
    """Executes `code.bin` for real, with `emit` and `ask` as globals of the module.

    Attributes:
        runs: (key, event uid) in the order in which runs began.
        orders: (key, order) of each run.
        retired: Keys that were retired.
        worn: What `wear` says.
    """

    def __init__(self) -> None:
        self.runs: list[tuple[str, bytes]] = []
        self.orders: list[tuple[str, RunOrder]] = []
        self.retired: list[str] = []
        self.worn = Wear()
        self._ask: Answer = answer_nothing
        self._entries: dict[str, tuple[Callable[[Event], object], list[Emit]]] = {}

    async def run(
        self,
        spec: VmSpec,
        event: bytes,
        *,
        order: RunOrder = AT_ONCE,
        on_start: Callable[[], None] | None = None,
        answer: Answer = answer_nothing,
    ) -> RunResult:
        """Runs one event; an exception is the outcome TASK_ERROR."""
        self.orders.append((spec.key, order))
        if order.within_ms is not None and order.within_ms <= 0:
            raise VmDeadlinePassed("the event did not begin in its time")
        begin = once(on_start)
        await self.turn(spec, begin)
        begin()
        self._ask = answer
        parsed = Event.from_bytes(event)
        self.runs.append((spec.key, parsed.uid))
        entry, emits = self._entry(spec)
        emits.clear()
        try:
            entry(parsed)
        except Exception as error:  # whatever the task's code raises is its outcome
            return RunResult(
                outcome="TASK_ERROR", emits=(), logs=(), wall_us=7, message=repr(error)
            )
        return RunResult(outcome="ok", emits=tuple(emits), logs=(), wall_us=7, message="")

    def wear(self) -> Wear:
        """What a test set as `worn`."""
        return self.worn

    async def turn(self, spec: VmSpec, begin: Callable[[], None]) -> None:
        """What comes before a run: its turn, at once. `begin` tells the caller that the run begins, and only once."""

    async def retire(self, key: str) -> None:
        """Forgets a key."""
        self.retired.append(key)
        self._entries.pop(key, None)

    async def close(self) -> None:
        """Nothing to close."""

    def _entry(self, spec: VmSpec) -> tuple[Callable[[Event], object], list[Emit]]:
        if spec.key not in self._entries:
            module, _, function = spec.entry.partition(":")
            emits: list[Emit] = []
            namespace = {
                "emit": lambda topic, payload: emits.append(Emit(topic=topic, payload=payload)),
                "failpoint": failpoint,
                "ask": lambda what, data: self._ask(what, data),
                "resources": dict(spec.resources),
            }
            exec(marshal.loads(spec.modules[module]), namespace)
            self._entries[spec.key] = (namespace[function], emits)  # type: ignore[assignment]  # of the task's code
        return self._entries[spec.key]


def once(action: Callable[[], None] | None) -> Callable[[], None]:
    """The action, for callers that may come twice; nothing when there is none."""
    left = [action] if action is not None else []

    def act() -> None:
        if left:
            left.pop()()

    return act
