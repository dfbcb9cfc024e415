"""Every limit of the bus, with its unit."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class BusSettings:
    """Limits of one bus.

    Attributes:
        visibility_ms: A record that was handed out and not acknowledged comes again after this.
        poll_ms: How often a waiting consumer looks by itself, for what other processes published.
        take_records_max: Records that one read hands out.
        publish_records_max: Records of one publish.
        payload_bytes_max: Bytes of one record.
        topic_records_max: Records that a topic holds before publishing to it is refused with BusFull.
        acknowledged_keep_ms: What every group has acknowledged stays this long, for groups that are new.
        unread_keep_ms: What nobody reads, because no group is there or all were left, goes after this.
        trim_records_max: Records that one step of trimming removes, so that it holds no lock for long.
        trim_every_ms: How often `run_trimming` trims.
        retry_ms: First wait of a subscription whose bus is away; doubles up to `retry_ms_max`.
        retry_ms_max: Longest of these waits.
        redis_connections_max: Connections to Redis; each waiting consumer holds one.
        redis_connect_s_max: How long connecting to Redis may take.
        redis_prefix: What every key in Redis starts with.
    """

    visibility_ms: int = 30_000
    poll_ms: int = 200
    take_records_max: int = 100
    publish_records_max: int = 1000
    payload_bytes_max: int = 1024 * 1024
    topic_records_max: int = 1_000_000
    acknowledged_keep_ms: int = 3_600_000
    unread_keep_ms: int = 7 * 86_400_000
    trim_records_max: int = 5000
    trim_every_ms: int = 10_000
    retry_ms: int = 250
    retry_ms_max: int = 15_000
    redis_connections_max: int = 64
    redis_connect_s_max: float = 5.0
    redis_prefix: str = "shoal:bus:"


SETTINGS = BusSettings()
