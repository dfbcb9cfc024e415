"""Taking a verified director document in: one transaction, whatever it says."""

from device_agent.agent.messages import run_report
from device_agent.agent.plan import Done, Forget, Remove, Want, plan
from device_agent.agent.store.outbox import Outcome, ack_of
from device_agent.agent.store.store import Store
from device_agent.tasks.director import Action, DirectorDocument, TaskInstruction


def accept(
    store: Store,
    document: DirectorDocument,
    envelope: bytes,
    *,
    facts_digest: str,
    python_tag: str,
    now_ms: int,
) -> None:
    """Stores document, kill switch and what is wanted now; removals and what is already there are done with it."""
    with store.transaction():
        steps = plan(document, store.held.tasks(), python_tag)
        store.held.put_document(document, envelope)
        store.held.put_epoch(document.epoch, facts_digest)
        for step in steps:
            match step:
                case Want(row=row, instruction=instruction):
                    store.held.put_task(row)
                    store.outbox.append_ack(ack_of(instruction, Outcome.NOTIFIED, "", now_ms))
                case Done(row=row, instruction=instruction):
                    store.held.put_task(row)
                    outcome, code = installed_outcome(instruction), ""
                    if row.quarantined:
                        outcome, code = Outcome.FAILED, "TASK_QUARANTINED"
                    store.outbox.append_ack(ack_of(instruction, outcome, code, now_ms))
                case Forget(row=row):
                    if row.version:
                        store.held.put_task(row)
                    else:
                        store.held.delete_task(row.task)
                case Remove(instruction=instruction):
                    _remove(store, instruction, now_ms)


def installed_outcome(instruction: TaskInstruction) -> Outcome:
    """What the acknowledgement of a finished installation says."""
    rolled_back = instruction.action is Action.ROLL_BACK
    return Outcome.ROLLED_BACK if rolled_back else Outcome.INSTALLED


def _remove(store: Store, instruction: TaskInstruction, now_ms: int) -> None:
    """Forgets a task; the events that it had still to see end with a report each, not in silence."""
    row = store.held.tasks().get(instruction.task)
    version = row.version if row is not None else 0
    for sequence, uid in store.log.waiting_uids(instruction.task):
        store.log.consume(instruction.task, sequence)
        report = run_report(
            instruction.task, version, uid, "TASK_REMOVED", 0, "the task was removed", now_ms
        )
        store.outbox.append_report(report)
    store.held.delete_task(instruction.task)
    store.outbox.append_ack(ack_of(instruction, Outcome.REMOVED, "", now_ms))
