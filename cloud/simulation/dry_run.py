"""A task on sample events, in exactly the VM that devices use, limits on.

Rules of this module:

- The path is the device's: compiled as for publishing, written to files, loaded by digest-checked bytecode, run by the
  interpreter pool. Only download and signatures are left out.
- `device_agent.vm.process.install` was called before, and the caller ends by `drain_and_exit`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shoal_task.run_state import MemoryKept, RunState

from cloud.registry.compile import compile_sources
from cloud.registry.upload import Upload, check_upload
from cloud.simulation.recordings import Sample
from device_agent.tasks.bytecode import decode_bytecode
from device_agent.vm.interface import OK, RunResult, VmPool, VmSpec
from device_agent.vm.task_spec import spec_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A task as a device would have it installed."""

    spec: VmSpec
    event_ids: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What became of one sample; `result` is None when no trigger of the task takes the event."""

    name: str
    event_id: int
    result: RunResult | None


async def prepare(upload: Upload, work: Path) -> Prepared:
    """Compiles a task and lays its resources out.

    Args:
        upload: The task as it would be published.
        work: Empty folder for the task's resources.

    Raises:
        ManifestInvalid, BundleInvalid, SourceInvalid: it could not be published either.
    """
    checked = check_upload(upload)
    manifest = checked.manifest
    code = await compile_sources(manifest, checked.sources)
    for path, data in checked.resources.items():
        target = work / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    key = f"dry-run/{manifest.name}/{hashlib.sha256(code).hexdigest()}"
    spec = spec_of(manifest, key=key, modules=decode_bytecode(code), folder=work)
    return Prepared(spec=spec, event_ids=manifest.event_ids)


async def dry_run(prepared: Prepared, samples: Sequence[Sample], pool: VmPool) -> list[DryRun]:
    """Runs a task on samples, one after another; what it keeps, it finds again in the next run."""
    runs = []
    kept = MemoryKept()
    for sample in samples:
        wanted = sample.event.event_id in prepared.event_ids
        result = await _run(prepared, sample, pool, kept) if wanted else None
        runs.append(DryRun(name=sample.name, event_id=sample.event.event_id, result=result))
    await pool.retire(prepared.spec.key)
    return runs


async def _run(prepared: Prepared, sample: Sample, pool: VmPool, kept: MemoryKept) -> RunResult:
    event = sample.event
    state = RunState(kept, lambda: event.wall_ms)
    result = await pool.run(prepared.spec, event.to_bytes(), answer=state.answer)
    if result.outcome == OK:
        kept.apply(state.changes)
    return result
