"""Recording what apps feed to a device, for `shoal task test`: switched on by a file, and bounded.

Rules of this module:

- HOME/recording.shoalevents is there: events are appended to it. `shoal-agent record` makes it, waits, and takes it
  away; a running agent needs no telling, and an agent that dies leaves whole events behind.
- Events are recorded as they were logged, with their times; what was refused or there already is not logged again.
- At `recording_bytes_max`, or on a full disk, recording stands still: a recording holds whole events.
- A recording that cannot be written never stands in the way of an event.
- Where it goes is opened before it begins: nobody records for an hour into a place that cannot be written.
"""

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from shoal_task.event import HEADER_BYTES, Event

FILE = "recording.shoalevents"
LOOK_EVERY_S = 0.05
_LENGTH_AT = HEADER_BYTES - 8


class Recorder:
    """The agent's end."""

    def __init__(self, home: Path, *, bytes_max: int) -> None:
        self._path = home / FILE
        self._bytes_max = bytes_max

    def take(self, events: Sequence[Event]) -> None:
        """Appends events if a recording is on and has room for all of them."""
        if not events:
            return
        try:
            number = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        except OSError:
            return  # no recording
        try:
            data = b"".join(event.to_bytes() for event in events)
            before = os.fstat(number).st_size
            if before + len(data) <= self._bytes_max and os.write(number, data) < len(data):
                os.ftruncate(
                    number, before
                )  # the disk took a part: what follows would be read as its rest
        except OSError:
            return  # the disk is full: events matter more
        finally:
            os.close(number)


def record(home: Path, out: Path, *, events: int, seconds: float) -> int:
    """Records until there are `events`, or for `seconds`; the recording is moved to `out`. Gives how many there are.

    Raises:
        FileExistsError: `out` is there already, or somebody records.
        OSError: `out` cannot be written.
    """
    if out.exists():
        raise FileExistsError(f"{out} is there already; name another file")
    path = home / FILE
    path.touch(exist_ok=False)
    try:
        with out.open("xb") as file:
            _wait(path, events, seconds)
            file.write(path.read_bytes())
    finally:
        path.unlink()
    return count(out)


def _wait(path: Path, events: int, seconds: float) -> None:
    waited, wait = 0.0, threading.Event().wait
    with suppress(KeyboardInterrupt):  # enough, says who asked for it
        while waited < seconds and count(path) < events:
            wait(LOOK_EVERY_S)
            waited += LOOK_EVERY_S


def count(path: Path) -> int:
    """How many whole events a recording holds."""
    found, at = 0, 0
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        while at + HEADER_BYTES <= size:
            file.seek(at + _LENGTH_AT)
            at += HEADER_BYTES + int.from_bytes(file.read(4), "little")
            found += at <= size
    return found
