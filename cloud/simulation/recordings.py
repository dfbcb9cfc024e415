"""Recorded events: a folder of payloads, or of recordings, in the forms that docs/reference/recorded-events.md gives.

Rules of this module:

- A payload file "<event id>-<anything>" is an event without a past; a ".shoalevents" file is events in their binary
  form, one after another, as a device logged them.
- Everything is read before anything runs, and the first thing that cannot be an event is named with its file.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shoal_task.event import HEADER_BYTES, PAYLOAD_BYTES_MAX, UID_BYTES, Event, EventInvalid

from cloud.simulation.errors import SamplesInvalid
from cloud.simulation.settings import SETTINGS, DryRunSettings

RECORDING = ".shoalevents"
_PAYLOAD = re.compile(r"([0-9]{1,10})(?:-[^/]*)?")
_LENGTH_AT = HEADER_BYTES - 8  # payload length u32, checksum u32


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A recorded event and where it came from."""

    name: str
    event: Event


def read_samples(path: Path, settings: DryRunSettings = SETTINGS) -> list[Sample]:
    """Reads a folder of payloads and recordings in order of name, or one recording.

    Raises:
        SamplesInvalid: there are none, too many, or one that cannot be an event.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file())
    else:
        files = [path] if path.is_file() else []
    samples: list[Sample] = []
    for file in files:
        samples += _recorded(file) if file.suffix == RECORDING else [_payload(len(samples), file)]
        if len(samples) > settings.dry_run_events_max:
            break
    if not 0 < len(samples) <= settings.dry_run_events_max:
        raise SamplesInvalid(
            f"{path} has {len(samples)} events, wanted are 1 to {settings.dry_run_events_max}; "
            "write one file a payload, e.g. events/1001-hello.bin, or record them with shoal-agent"
        )
    return samples


def _payload(number: int, path: Path) -> Sample:
    named = _PAYLOAD.fullmatch(path.stem)
    if named is None:
        raise SamplesInvalid(f"{path.name}: start the name with an event id, e.g. 1001-hello.bin")
    uid = hashlib.sha256(path.name.encode()).digest()[:UID_BYTES]
    event = Event(int(named[1]), path.read_bytes(), uid=uid, sequence=number + 1)
    try:
        event.to_bytes()
    except EventInvalid as error:
        raise SamplesInvalid(f"{path.name}: {error}") from None
    return Sample(name=path.name, event=event)


def _recorded(path: Path) -> Iterator[Sample]:
    data, at, number = path.read_bytes(), 0, 0
    while at < len(data):
        number += 1
        size = int.from_bytes(data[at + _LENGTH_AT : at + _LENGTH_AT + 4], "little")
        end = at + HEADER_BYTES + min(size, PAYLOAD_BYTES_MAX)
        try:
            event = Event.from_bytes(data[at:end])
        except EventInvalid as error:
            raise SamplesInvalid(f"{path.name}, event {number} at byte {at}: {error}") from None
        yield Sample(name=f"{path.stem}#{number}", event=event)
        at = end
