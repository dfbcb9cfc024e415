"""A task on sample events, in exactly the VM that devices use, limits on.

Rules of this module:

- The path is the device's: compiled as for publishing, written to files, loaded by digest-checked bytecode, run by the
  interpreter pool. Only download and signatures are left out.
- `device_agent.vm.process.install` was called before, and the caller ends by `drain_and_exit`.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shoal_task.event import UID_BYTES, Event, EventInvalid

from cloud.registry.compile import compile_sources
from cloud.registry.upload import CheckedUpload, Upload, check_upload
from cloud.simulation.errors import SamplesInvalid
from cloud.simulation.settings import SETTINGS, DryRunSettings
from device_agent.tasks.bytecode import decode_bytecode
from device_agent.vm.interface import RunResult, VmLimits, VmPool, VmSpec

_SAMPLE = re.compile(r"([0-9]{1,10})(?:-[^/]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A sample event and the file that it came from."""

    name: str
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRun:
    """What became of one sample; `result` is None when no trigger of the task takes the event."""

    name: str
    event_id: int
    result: RunResult | None


def read_samples(folder: Path, settings: DryRunSettings = SETTINGS) -> list[Sample]:
    """Reads "<event id>-<anything>" files as payloads, in order of name.

    Raises:
        SamplesInvalid: there are none, too many, or one that cannot be an event.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    if not 0 < len(files) <= settings.dry_run_events_max:
        raise SamplesInvalid(
            f"{folder} has {len(files)} sample events, wanted are 1 to {settings.dry_run_events_max}; "
            "write one file a payload, e.g. events/1001-hello.bin"
        )
    return [_sample(number, path) for number, path in enumerate(files)]


def _sample(number: int, path: Path) -> Sample:
    named = _SAMPLE.fullmatch(path.stem)
    if named is None:
        raise SamplesInvalid(f"{path.name}: start the name with an event id, e.g. 1001-hello.bin")
    uid = hashlib.sha256(path.name.encode()).digest()[:UID_BYTES]
    event = Event(int(named[1]), path.read_bytes(), uid=uid, sequence=number + 1)
    try:
        event.to_bytes()
    except EventInvalid as error:
        raise SamplesInvalid(f"{path.name}: {error}") from None
    return Sample(name=path.name, event=event)


async def dry_run(
    upload: Upload, samples: Sequence[Sample], pool: VmPool, work: Path
) -> list[DryRun]:
    """Runs a task on samples.

    Args:
        upload: The task as it would be published.
        samples: Events, in order.
        pool: Where it runs.
        work: Empty folder for the task's resources.

    Raises:
        ManifestInvalid, BundleInvalid, SourceInvalid: it could not be published either.
    """
    checked = check_upload(upload)
    spec = await _spec(checked, work)
    runs = []
    for sample in samples:
        wanted = sample.event.event_id in checked.manifest.event_ids
        result = await pool.run(spec, sample.event.to_bytes()) if wanted else None
        runs.append(DryRun(name=sample.name, event_id=sample.event.event_id, result=result))
    await pool.retire(spec.key)
    return runs


async def _spec(checked: CheckedUpload, work: Path) -> VmSpec:
    manifest = checked.manifest
    code = await compile_sources(manifest, checked.sources)
    resources = {}
    for path, data in checked.resources.items():
        target = work / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        resources[path] = str(target.resolve())
    return VmSpec(
        key=f"dry-run/{manifest.name}/{hashlib.sha256(code).hexdigest()}",
        modules=decode_bytecode(code),
        entry=manifest.entry,
        resources=resources,
        emit_topics=manifest.emit,
        limits=VmLimits(
            wall_ms=manifest.limits.wall_ms,
            memory_mib=manifest.limits.memory_mib,
            output_bytes=manifest.limits.output_bytes,
            log_lines=manifest.limits.log_lines,
        ),
    )
