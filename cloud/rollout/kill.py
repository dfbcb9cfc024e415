"""The kill switch: stops one task, or all of a namespace, everywhere and outside releases.

Rules of this module:

- Setting and clearing bump the epoch in the same transaction, so that the next Sync of every device carries it.
- Setting it again gives the new reason and bumps again: an operator in a hurry is never told "already".
- A name that the namespace does not know is refused: a switch on a misspelt task would calm and stop nothing.
"""

import dataclasses

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.rollout.errors import KillTargetUnknown
from cloud.store.audit import append_audit
from cloud.store.epochs import bump_epoch, current_epoch
from cloud.store.locks import lock_namespace
from cloud.store.tables import kill_switches, tasks
from cloud.store.upsert import insert_or_update
from device_agent.failpoint import failpoint

ALL_TASKS = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class KillSwitchRow:
    """A switch that is set. `task` "" is all tasks of the namespace."""

    task: str
    set_at_ms: int
    set_by: str
    reason: str


async def set_switch(
    connection: AsyncConnection, namespace: str, task: str, actor: str, reason: str, now_ms: int
) -> int:
    """Stops; gives the epoch that carries it.

    Raises:
        KillTargetUnknown: The namespace has no such task.
    """
    await lock_namespace(connection, namespace)
    await _check_task(connection, namespace, task)
    row: dict[str, str | int] = {"namespace": namespace, "task": task}
    row |= {"set_at_ms": now_ms, "set_by": actor, "reason": reason}
    await insert_or_update(connection, kill_switches, row, ("set_at_ms", "set_by", "reason"))
    epoch = await bump_epoch(connection, namespace, "kill", task, now_ms)
    await append_audit(
        connection, namespace, actor, "kill.set", task or "*", {"reason": reason}, now_ms
    )
    failpoint("rollout.kill_set.written")
    return epoch


async def clear_switch(
    connection: AsyncConnection, namespace: str, task: str, actor: str, reason: str, now_ms: int
) -> int:
    """Frees; gives the epoch that carries it, the current one when nothing was stopped.

    Raises:
        KillTargetUnknown: The namespace has no such task.
    """
    await lock_namespace(connection, namespace)
    result = await connection.execute(
        sa.delete(kill_switches).where(
            kill_switches.c.namespace == namespace, kill_switches.c.task == task
        )
    )
    if not result.rowcount:
        await _check_task(connection, namespace, task)
        return await current_epoch(connection, namespace)
    epoch = await bump_epoch(connection, namespace, "kill", task, now_ms)
    await append_audit(
        connection, namespace, actor, "kill.clear", task or "*", {"reason": reason}, now_ms
    )
    failpoint("rollout.kill_cleared.written")
    return epoch


async def read_switches(connection: AsyncConnection, namespace: str) -> tuple[KillSwitchRow, ...]:
    """The switches that are set, all tasks first."""
    table = kill_switches.c
    rows = await connection.execute(
        sa.select(table.task, table.set_at_ms, table.set_by, table.reason)
        .where(table.namespace == namespace)
        .order_by(table.task)
    )
    return tuple(KillSwitchRow(**row._mapping) for row in rows)


async def _check_task(connection: AsyncConnection, namespace: str, task: str) -> None:
    if task == ALL_TASKS:
        return
    known = await connection.scalar(
        sa.select(tasks.c.task).where(tasks.c.namespace == namespace, tasks.c.task == task)
    )
    if known is None:
        raise KillTargetUnknown(
            f"{namespace} has no task {task[:64]!r}; `shoal task list` shows its tasks, "
            "and no task name at all stops every task"
        )
