"""From a task's manifest to what its VMs are made from: the same on a device and in a dry run."""

import marshal
from collections.abc import Mapping
from pathlib import Path

from device_agent.tasks.manifest import Manifest
from device_agent.vm.interface import RunOrder, VmLimits, VmSpec
from device_agent.vm.turns import Priority

CONFIG_MODULE = "_shoal_config"


def spec_of(manifest: Manifest, *, key: str, modules: Mapping[str, bytes], folder: Path) -> VmSpec:
    """The spec of a task version.

    Args:
        manifest: Of that version.
        key: Names the version; see VmSpec.
        modules: Its code.
        folder: Where its resources lie.
    """
    limits = manifest.limits
    return VmSpec(
        key=key,
        modules={**modules, CONFIG_MODULE: _config_code(manifest)},
        entry=manifest.entry,
        resources={
            resource.path: str((folder / resource.path).resolve())
            for resource in manifest.resources
        },
        emit_topics=manifest.emit,
        limits=VmLimits(
            wall_ms=limits.wall_ms,
            cpu_ms=limits.cpu_ms,
            memory_mib=limits.memory_mib,
            engine_mib=limits.engine_mib,
            output_bytes=limits.output_bytes,
            log_lines=limits.log_lines,
        ),
        concurrency=limits.concurrency,
        fresh=manifest.fresh,
    )


def _config_code(manifest: Manifest) -> bytes:
    """A module that says what [config] says: there while the task's modules load, and out of the bundle's way."""
    source = f"VALUES = {dict(sorted(manifest.config.items()))!r}"
    return marshal.dumps(compile(source, "<config>", "exec", dont_inherit=True))


def order_of(manifest: Manifest, *, age_ms: int, alone: bool) -> RunOrder:
    """When an event of that age is to run."""
    deadline_ms = manifest.schedule.deadline_ms
    return RunOrder(
        priority=Priority[manifest.schedule.priority.upper()],
        within_ms=deadline_ms - age_ms if deadline_ms else None,
        alone=alone,
    )
