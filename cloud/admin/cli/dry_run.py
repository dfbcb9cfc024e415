"""`shoal task test`: runs a task on recorded events, and prints what came of each, what it cost and where time went."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from cloud.admin.cli.errors import UsageWrong
from cloud.admin.cli.output import EXIT_DONE, EXIT_FAILED, Format, show
from cloud.registry.upload import Upload, read_source
from cloud.simulation.dry_run import DryRun, Prepared, dry_run, prepare
from cloud.simulation.flame import flame_svg
from cloud.simulation.recordings import Sample, read_samples
from cloud.simulation.sampling import sampling
from cloud.simulation.settings import SETTINGS
from cloud.simulation.summary import Summary, summarise
from device_agent.vm.interface import OK
from device_agent.vm.pool import InterpreterPool
from device_agent.vm.process import install

PAYLOAD_CHARS_SHOWN = 60


def try_task(folder: Path, events: Path, form: Format, flame: Path | None = None) -> int:
    """Runs the task of a folder on recorded events.

    Args:
        folder: The task.
        events: Folder of payloads and recordings, or one recording.
        form: How to print.
        flame: Where to write the flame graph, if anywhere.

    Returns:
        Exit code: 1 when a run did not end well, or no event triggered the task.
    """
    install()  # before any thread: the VM's memory hooks
    if not folder.is_dir():
        raise UsageWrong(f"there is no folder {folder}")
    if flame is not None and not flame.parent.is_dir():
        raise UsageWrong(f"there is no folder {flame.parent} to write {flame.name} into")
    upload, samples = read_source(folder), read_samples(events)
    prepared, runs, stacks = asyncio.run(_run(upload, samples))
    summary = summarise(runs, stacks, prepared.spec.limits, SETTINGS.functions_shown)
    if flame is not None:
        title = f"{folder.resolve().name}: {summary.samples} samples, one each {SETTINGS.sample_every_ms} ms"
        flame.write_text(flame_svg(stacks, title))
    data = {"runs": [_row(one) for one in runs], "summary": asdict(summary)}
    show(data, form, "\n".join([*[_text(one) for one in runs], _figures(summary)]))
    ran = sum(summary.outcomes.values())
    return EXIT_DONE if ran and summary.outcomes.get(OK) == ran else EXIT_FAILED


async def _run(
    upload: Upload, samples: list[Sample]
) -> tuple[Prepared, list[DryRun], Counter[tuple[str, ...]]]:
    pool = InterpreterPool()
    try:
        with (
            tempfile.TemporaryDirectory() as work,
            sampling(pool.vms, SETTINGS.sample_every_ms) as stacks,
        ):
            prepared = await prepare(upload, Path(work))
            return prepared, await dry_run(prepared, samples, pool), stacks
    finally:
        await pool.close()


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


def _figures(summary: Summary) -> str:
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in summary.outcomes.items())
    lines = [
        "",
        f"runs     {outcomes or 'none'}",
        f"time     p50 {summary.wall_ms_p50:.2f} ms, p99 {summary.wall_ms_p99:.2f} ms, "
        f"most {summary.wall_ms_max:.2f} of {summary.wall_ms_limit} ms",
        f"memory   most {summary.memory_mib_max:.1f} of {summary.memory_mib_limit} MiB, "
        f"tensors {summary.engine_mib_max:.1f} of {summary.engine_mib_limit} MiB",
    ]
    lines += [
        f"output   {one.topic}: {one.messages} messages, {one.payload_bytes} bytes"
        for one in summary.outputs
    ]
    if not summary.functions:
        return "\n".join([*lines, "where    the runs were too short to be sampled"])
    lines.append(f"where    itself    with calls   ({summary.samples} samples)")
    lines += [
        f"         {100 * one.self_share:5.1f} %   {100 * one.total_share:5.1f} %      {one.function}"
        for one in summary.functions
    ]
    return "\n".join(lines)
