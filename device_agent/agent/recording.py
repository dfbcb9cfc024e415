"""Recording what apps feed to a device, for `shoal task test`: switched on by a file, and bounded.

Rules of this module:

- HOME/recording.shoalevents is there: events are appended to it. `shoal-agent record` makes it, waits, and takes it
  away; a running agent needs no telling, and an agent that dies leaves whole events behind.
- Events are recorded as they were logged, with their times; at `recording_bytes_max` recording stands still.
- A recording that cannot be written never stands in the way of an event.
"""

import os
import threading
from collections.abc import Sequence
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
        try:
            number = os.open(self._path, os.O_WRONLY | os.O_APPEND)
        except OSError:
            return  # no recording
        try:
            data = b"".join(event.to_bytes() for event in events)
            if os.fstat(number).st_size + len(data) <= self._bytes_max:
                os.write(number, data)
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
    waited, wait = 0.0, threading.Event().wait
    try:
        while waited < seconds and count(path) < events:
            wait(LOOK_EVERY_S)
            waited += LOOK_EVERY_S
    except KeyboardInterrupt:
        pass  # enough, says who asked for it
    finally:
        whole = path.read_bytes()
        path.unlink()
    out.write_bytes(whole)
    return count(out)


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
