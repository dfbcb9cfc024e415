"""The bus's metrics, read from plain counters when they are asked for."""

from collections.abc import Iterable
from dataclasses import fields

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cloud.bus.interface import Bus, BusCounts


class BusCollector(Collector):
    """Register it in a CollectorRegistry."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    def collect(self) -> Iterable[Metric]:
        """All metrics, now."""
        records = CounterMetricFamily(
            "shoal_bus_records", "Records, by what the bus did with them.", labels=["did"]
        )
        for field in fields(BusCounts):
            records.add_metric([field.name], getattr(self._bus.counts, field.name))
        yield records
        held = GaugeMetricFamily(
            "shoal_bus_topic_records",
            "Records that a topic held when last looked at.",
            labels=["topic"],
        )
        for topic, length in sorted(self._bus.lengths.items()):
            held.add_metric([topic], length)
        yield held
