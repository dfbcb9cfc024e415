"""`shoal task test`: runs a task on sample events, and prints what came of each."""

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cloud.admin.cli.errors import UsageWrong
from cloud.admin.cli.output import EXIT_DONE, EXIT_FAILED, Format, show
from cloud.registry.upload import read_source
from cloud.simulation.dry_run import DryRun, dry_run, read_samples
from device_agent.vm.interface import OK
from device_agent.vm.pool import InterpreterPool
from device_agent.vm.process import install

PAYLOAD_CHARS_SHOWN = 60


def try_task(folder: Path, events: Path, form: Format) -> int:
    """Runs the task of a folder on sample events.

    Returns:
        Exit code: 1 when a run did not end well, or no event triggered the task.
    """
    install()  # before any thread: the VM's memory hooks
    if not folder.is_dir():
        raise UsageWrong(f"there is no folder {folder}")
    upload, samples = read_source(folder), read_samples(events)

    async def run() -> list[DryRun]:
        pool = InterpreterPool()
        try:
            with tempfile.TemporaryDirectory() as work:
                return await dry_run(upload, samples, pool, Path(work))
        finally:
            await pool.close()

    runs = asyncio.run(run())
    show({"runs": [_row(one) for one in runs]}, form, "\n".join(_text(one) for one in runs))
    good = [one for one in runs if one.result is not None and one.result.outcome == OK]
    ran = [one for one in runs if one.result is not None]
    return EXIT_DONE if ran and len(good) == len(ran) else EXIT_FAILED


def _row(one: DryRun) -> Mapping[str, object]:
    if one.result is None:
        return {"sample": one.name, "event": one.event_id, "outcome": "not triggered"}
    return {
        "sample": one.name,
        "event": one.event_id,
        "outcome": one.result.outcome,
        "message": one.result.message,
        "wall_us": one.result.wall_us,
        "emits": [
            {
                "topic": emit.topic,
                "bytes": len(emit.payload),
                "payload": emit.payload.decode(errors="replace"),
            }
            for emit in one.result.emits
        ],
        "logs": list(one.result.logs),
    }


def _text(one: DryRun) -> str:
    if one.result is None:
        return f"{one.name}: no trigger of the task takes event {one.event_id}"
    lines = [f"{one.name}: {one.result.outcome} in {one.result.wall_us / 1000:.2f} ms"]
    lines += [
        f"  emit {emit.topic}: {emit.payload[:PAYLOAD_CHARS_SHOWN]!r}" for emit in one.result.emits
    ]
    lines += [f"  log {line}" for line in one.result.logs]
    lines += [f"  {line}" for line in one.result.message.splitlines()]
    return "\n".join(lines)
