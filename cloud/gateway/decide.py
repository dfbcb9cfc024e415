"""What a device shall hear: one function behind every face of the gateway. Pure.

Rules of this module:

- The device stands at the set's epoch: nothing. The set is behind the device: retry, and nothing may be concluded.
- Otherwise only tasks that changed since the device's epoch, or that are not settled on the device, are resolved; all
  when the log does not reach back or the device says epoch 0. Either way gives the same answer (tests/parity).
- A document is made when some task is new to the device, when the kill switch moved since its epoch, or when it says
  epoch 0: it has no document, its facts changed, or it wants a fresh one.
- A document stands alone: it names what is new with its files, what is asked for and not there yet again with its
  files, and the rest of the profile as `keep`.
- A document is bounded: what the device does not hold is left out first, then by name, and counted. A task that a
  document does not name stays as it is, so leaving out is safe.
"""

import enum
from collections.abc import Collection, Iterable

import msgspec

from cloud.gateway.profile import DeviceView, Held
from cloud.gateway.release_set import ReleaseSet, TaskPlan
from cloud.gateway.resolve import Told, Verdict, resolve
from device_agent.tasks.director import DOCUMENT_BYTES_MAX, TASKS_MAX

# An envelope is its payload in base64 and a signature; what is left is for the kill switch and the frame.
INSTRUCTIONS_BYTES_MAX = DOCUMENT_BYTES_MAX * 5 // 8


class Kind(enum.Enum):
    """What the answer is."""

    # The device's epoch is the set's.
    SAME = enum.auto()
    # The set is older than what the device saw.
    RETRY = enum.auto()
    # The epoch moved, and nothing of it is for this device.
    NOTHING = enum.auto()
    # There is a document.
    CHANGED = enum.auto()


class Decision(msgspec.Struct, frozen=True):
    """The answer before it is signed.

    Attributes:
        instructions: JSON of the document's tasks, in order of name; empty unless CHANGED.
        left_out: Installations that did not fit the document.
    """

    kind: Kind
    instructions: tuple[bytes, ...] = ()
    left_out: int = 0


SAME = Decision(Kind.SAME)
RETRY = Decision(Kind.RETRY)
NOTHING = Decision(Kind.NOTHING)


def compare(release_set: ReleaseSet, epoch: int) -> Decision | None:
    """What the epoch alone decides; None when the profile must be looked at."""
    if epoch == release_set.epoch:
        return SAME
    if epoch > release_set.epoch:
        return RETRY
    return None


def decide(release_set: ReleaseSet, view: DeviceView, epoch: int) -> Decision:
    """Decides for a device that stands at `epoch`."""
    known = compare(release_set, epoch)
    if known is not None:
        return known
    plans = release_set.tasks
    verdicts: dict[str, Verdict] = {}
    told = epoch == 0 or epoch < release_set.kill_epoch
    for task in _to_resolve(release_set, view, epoch):
        verdict = resolve(plans.get(task), task, view)
        if verdict is not None:
            verdicts[task] = verdict
            told = told or verdict.told is Told.NEW
    return _document(release_set, view, verdicts) if told else NOTHING


def _to_resolve(release_set: ReleaseSet, view: DeviceView, epoch: int) -> Iterable[str]:
    changed = release_set.log.since(epoch) if epoch else None
    if changed is None:
        return {*release_set.tasks, *view.rows()}
    unsettled = view.unsettled()
    return {*changed, *unsettled} if unsettled else changed


def _document(release_set: ReleaseSet, view: DeviceView, verdicts: dict[str, Verdict]) -> Decision:
    """The whole document: the verdicts, and what stands of the rest of the profile."""
    named = {task: verdict.instruction for task, verdict in verdicts.items()}
    plans = release_set.tasks
    rows = view.rows()
    for task, row in rows.items():
        if task not in named:
            named[task] = _rest(plans.get(task), task, row, view)
    kept = _within_limits(named, rows)
    instructions = tuple(named[name] for name in sorted(kept))
    return Decision(Kind.CHANGED, instructions, left_out=len(named) - len(kept))


def _rest(plan: TaskPlan | None, task: str, row: Held, view: DeviceView) -> bytes:
    """A task that did not change: `keep`, unless the row is not what the cloud thinks that it gave."""
    version = plan.versions.get(row.version) if plan is not None else None
    if row.steady and version is not None and version.version.digest == row.digest:
        return version.keep
    verdict = resolve(plan, task, view)
    assert verdict is not None  # a held task is always somebody's business
    return verdict.instruction


def _within_limits(named: dict[str, bytes], held: Collection[str]) -> Collection[str]:
    """Names that fit: first what the device holds, then the rest, each in order of name."""
    if len(named) <= TASKS_MAX and sum(map(len, named.values())) <= INSTRUCTIONS_BYTES_MAX:
        return named
    kept: list[str] = []
    left_bytes = INSTRUCTIONS_BYTES_MAX
    for name in sorted(named, key=lambda name: (name not in held, name)):
        if len(kept) < TASKS_MAX and len(named[name]) <= left_bytes:
            kept.append(name)
            left_bytes -= len(named[name])
    return kept
