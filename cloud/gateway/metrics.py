"""The gateway's metrics, read from plain counters when they are asked for: a Sync pays for an integer only."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cloud.gateway.answer import Outcome
from cloud.gateway.business import ProfileFace
from cloud.gateway.follower import Follower
from cloud.gateway.service import Gateway


class GatewayCollector(Collector):
    """Register it in a CollectorRegistry."""

    def __init__(self, gateway: Gateway, follower: Follower) -> None:
        self._gateway = gateway
        self._follower = follower

    def collect(self) -> Iterable[Metric]:
        """All metrics, now."""
        yield self._syncs()
        yield from self._follower_metrics()
        gateway = self._gateway
        yield _counter(
            "shoal_gateway_document_tasks_left_out",
            "Installations that did not fit a director document.",
            gateway.answerer.left_out,
        )
        yield _counter(
            "shoal_gateway_acknowledgements_put_off",
            "Syncs whose acknowledgements were not durable in time.",
            gateway.recorder.put_off,
        )
        yield _counter(
            "shoal_gateway_presence_dropped",
            "Syncs whose presence was not kept because too many waited.",
            gateway.presence.dropped,
        )
        yield _gauge(
            "shoal_gateway_acknowledgements_waiting",
            "Syncs that wait for the commit of their acknowledgements.",
            gateway.recorder.waiting,
        )
        yield _gauge(
            "shoal_gateway_presence_waiting",
            "Devices whose presence waits to be written.",
            gateway.presence.waiting,
        )

    def _syncs(self) -> Metric:
        family = CounterMetricFamily(
            "shoal_gateway_syncs", "Syncs answered or refused.", labels=["outcome"]
        )
        for outcome in Outcome:
            family.add_metric([outcome.name.lower()], self._gateway.answerer.counts[outcome])
        return family

    def _follower_metrics(self) -> Iterable[Metric]:
        health = self._follower.health()
        epochs = GaugeMetricFamily(
            "shoal_gateway_epoch", "Epoch of the release set served.", labels=["namespace"]
        )
        for namespace, epoch in health.epochs.items():
            epochs.add_metric([namespace], epoch)
        yield epochs
        yield _gauge(
            "shoal_gateway_follower_age_ms",
            "Since the database was last read, in milliseconds; -1 before the first time.",
            health.age_ms,
        )
        yield _gauge(
            "shoal_gateway_stale",
            "1 while the database could not be read for too long; answers go on.",
            int(health.stale),
        )
        yield _gauge("shoal_gateway_devices", "Enrolled devices held in memory.", health.devices)


class ProfileCollector(Collector):
    """The header face's metrics; register it in the business process."""

    def __init__(self, face: ProfileFace) -> None:
        self._face = face

    def collect(self) -> Iterable[Metric]:
        """All metrics, now."""
        family = CounterMetricFamily(
            "shoal_gateway_profiles", "Business headers, by how they ended.", labels=["outcome"]
        )
        for outcome, count in sorted(self._face.counts.items()):
            family.add_metric([outcome], count)
        yield family


def _counter(name: str, about: str, value: float) -> Metric:
    return CounterMetricFamily(name, about, value=value)


def _gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(name, about, value=value)
