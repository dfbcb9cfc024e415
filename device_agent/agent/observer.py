"""What the agent lets be seen: the base sees nothing, the process's own (process_observer.py) logs and counts."""

from collections.abc import Sequence

from device_agent.events.frames import FeedAnswer
from device_agent.tasks.director import TaskInstruction
from device_agent.vm.interface import RunResult


class Observer:
    """Hears of what happened; never decides."""

    def fed(self, answers: Sequence[FeedAnswer]) -> None:
        """Events came in."""

    def ran(self, task: str, version: int, result: RunResult) -> None:
        """A run ended, and its end is durable."""

    def broken(self, task: str, code: str, message: str) -> None:
        """A task cannot run just now."""

    def installed(self, instruction: TaskInstruction, took_ms: int) -> None:
        """A version was switched on."""

    def put_off(self, instruction: TaskInstruction, code: str, message: str) -> None:
        """An installation failed or was deferred."""

    def sync_failed(self, code: str, message: str) -> None:
        """A Sync failed."""

    def tunnel_failed(self, code: str, message: str) -> None:
        """A conversation broke."""

    def worn(self, code: str, message: str) -> None:
        """VMs left too much behind: the process begins anew."""

    def storage_failed(self, code: str, message: str) -> None:
        """The store was damaged and began anew, or cannot be written now."""
