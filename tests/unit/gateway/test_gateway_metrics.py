"""What operators see of a gateway and of its tunnels."""

from prometheus_client import CollectorRegistry, generate_latest

from cloud.gateway.metrics import GatewayCollector
from cloud.store.database import Database
from cloud.telemetry.metrics import TelemetryCollector
from cloud.telemetry.parts import TelemetryParts
from device_agent.clock import SystemClock
from tests.helpers.live_gateway import live_gateway
from tests.helpers.memory_bus import SharedBus
from tests.helpers.release_sets import NAMESPACE, request


async def test_a_gateway_tells_its_counts(database: Database) -> None:
    async with live_gateway(database) as live:
        device = await live.enrol()
        await live.sync(device, request())
        await live.sync(device, request(epoch=10))
        registry = CollectorRegistry()
        registry.register(GatewayCollector(live.parts.gateway, live.parts.follower))
        told = generate_latest(registry).decode()
    for line in (
        'shoal_gateway_syncs_total{outcome="changed"} 1.0',
        'shoal_gateway_syncs_total{outcome="same"} 1.0',
        f'shoal_gateway_epoch{{namespace="{NAMESPACE}"}} 10.0',
        "shoal_gateway_stale 0.0",
        "shoal_gateway_devices 1.0",
        "shoal_gateway_acknowledgements_waiting 0.0",
    ):
        assert line in told


def test_tunnels_tell_theirs(database: Database) -> None:
    parts = TelemetryParts.build(
        database=database, bus=SharedBus(), admit=lambda _peer: None, clock=SystemClock()
    )
    registry = CollectorRegistry()
    registry.register(TelemetryCollector(parts.tunnels))
    told = generate_latest(registry).decode()
    assert 'shoal_telemetry_reports_total{result="counted"} 0.0' in told
    assert "shoal_telemetry_tunnels 0.0" in told
