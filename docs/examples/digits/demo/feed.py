"""Real input: each device is fed its share of the test fold, round by round.

Rules of this module:

- A refused event is fed again later; uids make that harmless.
- The whole test fold is fed once a round, dealt over the devices.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from shoal_task import Event

from device_agent.events.feeder import FeederClient
from docs.examples.digits.demo.scoreboard import Scoreboard, uid_of
from docs.examples.digits.v1 import wire

BATCH = 4
PAUSE_SECONDS = 0.03


async def feed_round(
    number: int,
    sockets: Sequence[Path],
    payloads: Sequence[bytes],
    board: Scoreboard,
    pause_seconds: float = PAUSE_SECONDS,
) -> None:
    """Feeds every payload once, dealt over the devices, all devices at the same time."""
    async with asyncio.TaskGroup() as group:
        for device, socket in enumerate(sockets):
            digits = range(device, len(payloads), len(sockets))
            events = [_event(number, device, digit, payloads[digit]) for digit in digits]
            group.create_task(_feed_device(socket, events, board, pause_seconds))


def _event(number: int, device: int, digit: int, payload: bytes) -> Event:
    return Event(
        wire.DIGIT_EVENT,
        payload,
        uid=uid_of(number, device, digit),
        monotonic_ns=time.monotonic_ns(),
        wall_ms=time.time_ns() // 1_000_000,
    )


async def _feed_device(
    socket: Path, events: Sequence[Event], board: Scoreboard, pause_seconds: float
) -> None:
    with FeederClient(socket) as feeder:
        for start in range(0, len(events), BATCH):
            batch = list(events[start : start + BATCH])
            while batch:
                answers = await asyncio.to_thread(feeder.feed, batch)
                taken = [
                    event
                    for event, answer in zip(batch, answers, strict=True)
                    if answer.status != "refused"
                ]
                board.fed.update(event.uid for event in taken)
                batch = [event for event in batch if event not in taken]
                await asyncio.sleep(pause_seconds)
