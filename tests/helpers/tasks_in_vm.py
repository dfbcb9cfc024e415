"""Makes specs and events for VMs from source text."""

import marshal
import textwrap
from collections.abc import Mapping

from shoal_task.event import Event

from device_agent.vm.interface import VmLimits, VmSpec

TOPICS = frozenset({"out"})


def make_spec(
    source: str,
    *,
    key: str = "",
    limits: VmLimits | None = None,
    modules: Mapping[str, str] | None = None,
    resources: Mapping[str, str] | None = None,
    concurrency: int = 1,
) -> VmSpec:
    """A spec whose `main` module is `source`; without a key, the source is the key."""
    texts = {"main": textwrap.dedent(source), **(modules or {})}
    return VmSpec(
        key=key or texts["main"],
        modules={
            name: marshal.dumps(compile(text, f"{name}.py", "exec", dont_inherit=True))
            for name, text in texts.items()
        },
        entry="main:on_event",
        resources=resources or {},
        emit_topics=TOPICS,
        limits=limits or VmLimits(),
        concurrency=concurrency,
    )


def make_event(payload: bytes = b"", event_id: int = 1) -> bytes:
    """An event's binary form."""
    return Event(event_id, payload, uid=bytes(16)).to_bytes()
