"""What `shoal task init` writes: a small task that works, with a unit test and sample events.

Rules of this module:

- Nothing is overwritten: a folder that holds one of the files is refused before any is written.
"""

from collections.abc import Mapping
from pathlib import Path

from cloud.admin.cli.errors import UsageWrong
from device_agent.tasks.names import check_task_name

TASK_TOML = """[task]
name = "{name}"
entry = "main:on_event"
summary = "Counts the letters of a text"

[requires]
guest_api = 1

[[triggers]]
event = 1001        # runs on each event of this id

[limits]
wall_ms = 500       # a run that takes longer is ended and has no effects
memory_mib = 32

[permissions]
emit = ["counted"]  # topics that this task may send to the cloud
"""
MAIN = '''"""Counts the letters of the text that an event carries."""

import json

from shoal_task import Event, emit, log


def on_event(event: Event) -> None:
    text = event.payload.decode()
    letters = sum(character.isalpha() for character in text)
    log(f"{letters} letters")
    emit("counted", json.dumps({"letters": letters}).encode())
'''
TEST = '''"""Runs outside a VM, with any test runner: python -m pytest"""

import main
from shoal_task import Event, testing


def test_letters_are_counted() -> None:
    event = Event(1001, b"two words", uid=bytes(16))
    effects = testing.run(main.on_event, event)
    assert [(emit.topic, emit.payload) for emit in effects.emits] == [("counted", b'{"letters": 8}')]
'''
EVENTS: Mapping[str, bytes] = {
    "events/1001-hello.bin": b"Hello, device!",
    "events/1001-empty.bin": b"",
}


def write_template(folder: Path, name: str) -> list[Path]:
    """Writes the files of a new task.

    Returns:
        What was written.

    Raises:
        NameInvalid: the name is not one of a task.
        UsageWrong: one of the files is there already.
    """
    check_task_name(name)
    files: dict[str, bytes] = {
        "task.toml": TASK_TOML.format(name=name).encode(),
        "main.py": MAIN.encode(),
        "test_main.py": TEST.encode(),
        **EVENTS,
    }
    there = [path for path in files if (folder / path).exists()]
    if there:
        raise UsageWrong(f"{folder / there[0]} is there already; name a new folder")
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return [folder / path for path in files]
