"""Named places where a test may end the process: one stands at every durable step of agent and cloud.

Rules of this module:

- A failpoint that is not armed costs one comparison and does nothing.
- Arming is explicit: a process arms itself from SHOAL_FAILPOINT in its main(), a test by `arm`.
- SHOAL_FAILPOINT is "name" or "name:N": the process kills itself with SIGKILL when it passes `name` for the N-th time.
"""

import os
import signal
from collections.abc import Callable, Mapping

_action: Callable[[str], None] | None = None


def failpoint(name: str) -> None:
    """Marks a durable step; `name` is "part.step.moment", e.g. "agent.install.renamed"."""
    if _action is not None:
        _action(name)


def arm(action: Callable[[str], None] | None) -> None:
    """Sets what happens at every failpoint; None disarms."""
    global _action
    _action = action


def arm_from_environment(environment: Mapping[str, str]) -> None:
    """Arms from SHOAL_FAILPOINT when it is set.

    Raises:
        ValueError: SHOAL_FAILPOINT is not "name" or "name:N" with N >= 1.
    """
    setting = environment.get("SHOAL_FAILPOINT", "")
    if not setting:
        return
    name, _, count = setting.partition(":")
    remaining = int(count or "1")
    if remaining < 1:
        raise ValueError(f"SHOAL_FAILPOINT={setting}: the count must be at least 1")

    def die(passed: str) -> None:
        nonlocal remaining
        if passed == name:
            remaining -= 1
            if remaining == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    arm(die)
