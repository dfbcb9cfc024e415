"""The guest API: what a task imports inside its VM, and an author in an editor and unit tests.

    from shoal_task import Event, emit, log, tensor
    from shoal_task import clock, config, image, kv, model, signal, table, train, upload  # loaded when asked for

Outside a VM everything works the same; `shoal_task.testing.run` calls a task's entry and returns what it emitted.
"""

from shoal_task import tensor
from shoal_task.border import emit, log
from shoal_task.event import Event, EventInvalid

GUEST_API = 3

__all__ = ["GUEST_API", "Event", "EventInvalid", "emit", "log", "tensor"]
