"""Removes from a Redis stream what may go.

Rules of this module:

- A record goes when every group has acknowledged it and it has been there `acknowledged_keep_ms`, or unread after
  `unread_keep_ms`. Ids begin with the milliseconds at which Redis took the record, which is how age is known.
- XTRIM … MINID removes a prefix: the prefix ends before the oldest record that some group still needs.
"""

from typing import Any

from redis.asyncio import Redis

from cloud.bus.settings import BusSettings

type StreamId = tuple[int, int]


async def trim_topic(redis: "Redis", stream: str, now_ms: int, settings: BusSettings) -> int:
    """One step of trimming a stream; gives how many records went."""
    unread_until = now_ms - settings.unread_keep_ms
    acknowledged_until = now_ms - settings.acknowledged_keep_ms
    needed = await _oldest_needed(redis, stream)
    done = min((acknowledged_until + 1, 0), needed) if needed is not None else (0, 0)
    first_kept = max(done, (unread_until + 1, 0))
    if first_kept <= (0, 0):
        return 0
    text = f"{first_kept[0]}-{first_kept[1]}"
    return int(await redis.xtrim(stream, minid=text, approximate=False))


async def _oldest_needed(redis: "Redis", stream: str) -> StreamId | None:
    """Id of the oldest record that a group has not acknowledged; None when there is no group."""
    groups: list[dict[str, Any]] = await redis.xinfo_groups(stream)
    needed: list[StreamId] = []
    for group in groups:
        if group["pending"]:
            summary = await redis.xpending(stream, group["name"])
            needed.append(parse_id(summary["min"]))
        milliseconds, sequence = parse_id(group["last-delivered-id"])
        needed.append((milliseconds, sequence + 1))
    return min(needed, default=None)


def parse_id(text: bytes) -> StreamId:
    """The two numbers of a stream id."""
    milliseconds, _, sequence = text.decode().partition("-")
    return int(milliseconds), int(sequence or "0")
