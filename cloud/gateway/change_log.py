"""Which tasks changed since an epoch, as far back as the log reaches. Pure.

Rules of this module:

- Bounded: the oldest entries fall off and the floor rises; whoever is older than the floor is evaluated in full.
- A log is never mutated; a longer one is a new value. What has been looked up is remembered beside it.
"""

import bisect
from collections.abc import Iterable

CHANGES_MAX = 4096


class ChangeLog:
    """Changes in order of epoch.

    Attributes:
        floor: Every change after this epoch is in the log; none before it need be.
    """

    __slots__ = ("_epochs", "_tasks", "_tasks_after", "floor")

    def __init__(
        self, *, floor: int, epochs: tuple[int, ...] = (), tasks: tuple[str, ...] = ()
    ) -> None:
        assert len(epochs) == len(tasks)
        assert not epochs or epochs[0] > floor
        self.floor = floor
        self._epochs = epochs
        self._tasks = tasks
        # One entry a position in the log at most: a fleet stands at few epochs, each asked for many times.
        self._tasks_after: dict[int, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._epochs)

    def extended(self, changes: Iterable[tuple[int, str]], limit: int = CHANGES_MAX) -> "ChangeLog":
        """The log with later changes, each (epoch, task), in order of epoch; at most `limit` are kept."""
        added = tuple(changes)
        epochs = self._epochs + tuple(epoch for epoch, _ in added)
        tasks = self._tasks + tuple(task for _, task in added)
        excess = max(0, len(epochs) - limit)
        floor = epochs[excess - 1] if excess else self.floor
        return ChangeLog(floor=floor, epochs=epochs[excess:], tasks=tasks[excess:])

    def since(self, epoch: int) -> tuple[str, ...] | None:
        """Names of the tasks that changed after `epoch`, in order; None when the log does not reach back to it."""
        if epoch < self.floor:
            return None
        position = bisect.bisect_right(self._epochs, epoch)
        known = self._tasks_after.get(position)
        if known is None:
            known = tuple(sorted(set(self._tasks[position:])))
            self._tasks_after[position] = known
        return known
