"""Telemetry's metrics, read from plain counters when they are asked for."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cloud.telemetry.tunnel import Tunnels


class TelemetryCollector(Collector):
    """Register it in a CollectorRegistry."""

    def __init__(self, tunnels: Tunnels) -> None:
        self._tunnels = tunnels

    def collect(self) -> Iterable[Metric]:
        """All metrics, now."""
        ingest = self._tunnels.ingest
        reports = CounterMetricFamily(
            "shoal_telemetry_reports", "Reports received.", labels=["result"]
        )
        reports.add_metric(["counted"], ingest.counted)
        reports.add_metric(["duplicate"], ingest.duplicates)
        reports.add_metric(["unknown_kind"], ingest.unknown)
        yield reports
        yield CounterMetricFamily(
            "shoal_telemetry_gaps",
            "Messages refused because reports before them are missing.",
            value=ingest.gaps,
        )
        yield CounterMetricFamily(
            "shoal_telemetry_replies_sent",
            "Replies sent, repeats included.",
            value=self._tunnels.replies_sent,
        )
        yield GaugeMetricFamily(
            "shoal_telemetry_messages_waiting",
            "Messages that wait for their commit.",
            value=ingest.waiting,
        )
        yield GaugeMetricFamily(
            "shoal_telemetry_tunnels", "Open tunnels.", value=self._tunnels.hub.tunnels
        )
