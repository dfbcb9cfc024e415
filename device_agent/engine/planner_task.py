"""The task of the VM that plans for all others; device_agent/vm/planner.py is its host.

An event only wakes it: what is to be planned is asked for, since a request may be longer than an event.
"""

from shoal_task.border import ask, emit

from device_agent.engine.asking import REQUEST, TOPIC
from device_agent.engine.planner import answer_request


def on_event(_event: object) -> None:
    """Plans one stage: asks for the path of a model and a request, and hands the answer on."""
    path, _, request = ask(REQUEST, b"").partition(b"\0")
    emit(TOPIC, answer_request(path.decode(), request))
