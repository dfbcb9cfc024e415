"""Metrics say what the bus did."""

from prometheus_client import CollectorRegistry

from cloud.bus.embedded import EmbeddedBus
from cloud.bus.metrics import BusCollector
from cloud.bus.settings import BusSettings
from cloud.store.database import Database
from tests.helpers.manual_clock import ManualClock

TOPIC = "demo/app/digits/answer"


async def test_each_record_is_counted_where_it_went(database: Database) -> None:
    clock = ManualClock()
    bus = EmbeddedBus(database, clock, BusSettings(acknowledged_keep_ms=0))
    registry = CollectorRegistry()
    registry.register(BusCollector(bus))
    await bus.publish(TOPIC, [("a", b""), ("b", b""), ("c", b"")])
    first = await bus.take(TOPIC, "g", "c", limit=2, wait_ms=0)
    await bus.ack(first[0])
    clock.advance_ms(BusSettings().visibility_ms)
    await bus.take(TOPIC, "g", "c", limit=1, wait_ms=0)
    await bus.trim()

    def value(did: str) -> float | None:
        return registry.get_sample_value("shoal_bus_records_total", {"did": did})

    assert [value(did) for did in ("published", "taken", "taken_again", "acknowledged")] == [
        3,
        2,
        1,
        1,
    ]
    assert (value("trimmed"), value("refused")) == (1, 0)
    assert registry.get_sample_value("shoal_bus_topic_records", {"topic": TOPIC}) == 2
