"""Cloud and agent as an operator watches them: one trace from a release to the device's word on it, and metrics.

The collector is a real OTLP gRPC server in this process; metrics are scraped over HTTP from both ends.
"""

import asyncio
import re
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from shoal_task import Event

from device_agent.events.feeder import FeederClient
from tests.helpers.local_fleet import EVENT, TASK, Fleet
from tests.helpers.otlp_receiver import OtlpReceiver, otlp_receiver
from tests.helpers.servers import free_port

pytestmark = pytest.mark.slow
EVENTS = 5
Metrics = dict[tuple[str, frozenset[tuple[str, str]]], float]


@asynccontextmanager
async def watched_fleet(root: Path, endpoint: str, metrics_port: int) -> AsyncIterator[Fleet]:
    """A cloud and one agent that export their spans, and an agent that serves its metrics."""
    fleet = Fleet(root, devices=1, cloud_arguments=["--otlp-endpoint", endpoint])
    (agent,) = fleet.agents
    with (agent.home / "agent.toml").open("a") as file:
        file.write(f'[metrics]\nport = {metrics_port}\n[tracing]\nendpoint = "{endpoint}"\n')
    try:
        await fleet.start()
        yield fleet
    finally:
        await fleet.stop()


async def release_and_feed(fleet: Fleet) -> str:
    """Releases a task, feeds it events, waits until the cloud has counted the runs; gives the release's id."""
    release = await fleet.release(await fleet.publish(fleet.write_task()))

    async def installed() -> bool:
        return await fleet.installed(release) == 1

    async def counted() -> bool:
        return bool(sum(row["runs"] for row in (await fleet.get("/overview"))["runs"]) == EVENTS)

    await fleet.until("the version is installed", installed)
    events = [Event(EVENT, b"some text", uid=bytes([n]) * 16) for n in range(EVENTS)]
    with FeederClient(fleet.agents[0].socket) as feeder:
        answers = await asyncio.to_thread(feeder.feed, events)
    assert [answer.status for answer in answers] == ["accepted"] * EVENTS
    await fleet.until("all runs are counted", counted)
    return release


async def scrape(url: str) -> Metrics:
    """Every sample of a Prometheus endpoint."""

    def get() -> str:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode())

    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(await asyncio.to_thread(get))
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return metrics[name, frozenset(labels.items())]


async def test_a_release_is_one_trace_and_both_ends_count(tmp_path: Path) -> None:
    port = free_port()
    async with otlp_receiver() as receiver:
        async with watched_fleet(tmp_path, receiver.endpoint, port) as fleet:
            release = await release_and_feed(fleet)
            traceparent = (await fleet.get(f"/releases/{release}"))["traceparent"]
            check_device(await scrape(f"http://127.0.0.1:{port}/metrics"))
            check_cloud(await scrape(f"{fleet.cloud.addresses.rest}/metrics"))
            # An orderly stop sends what has not been exported yet.
            assert await fleet.agents[0].process.stop() == 0
            assert await fleet.cloud.process.stop() == 0
        check_trace(receiver, traceparent)


def check_trace(receiver: OtlpReceiver, traceparent: str) -> None:
    """The operator's request, the installation and its acknowledgement hang together."""
    told = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0[13]", traceparent)
    assert told
    trace_id, released_in = told.groups()
    spans = receiver.of_trace(trace_id)
    by_id = {span.span_id: span for span in spans}
    assert {span.service for span in spans} == {"shoal-cloud", "shoal-agent"}
    (request,) = (span for span in spans if not span.parent_id)
    assert re.fullmatch(r"POST /\S+/releases", request.name)
    ancestor = by_id[released_in]  # the web framework may have spans of its own
    while ancestor.parent_id:
        ancestor = by_id[ancestor.parent_id]
    assert ancestor == request
    (install,) = (span for span in spans if span.service == "shoal-agent")
    assert (install.name, install.parent_id) == ("shoal.install", released_in)
    assert install.attributes == {"shoal.task": TASK, "shoal.version": 1}
    acknowledged = [span for span in spans if span.name == "shoal.gateway.acknowledge"]
    assert {span.parent_id for span in acknowledged} == {released_in}
    assert request.start_ns <= install.start_ns <= install.end_ns <= acknowledged[-1].end_ns


def check_device(metrics: Metrics) -> None:
    assert value(metrics, "shoal_agent_installs_total", task=TASK, outcome="installed") == 1
    assert value(metrics, "shoal_agent_events_total", answer="accepted") == EVENTS
    assert value(metrics, "shoal_agent_runs_total", task=TASK, outcome="ok") == EVENTS
    assert value(metrics, "shoal_agent_run_seconds_count") == EVENTS
    assert 0 < value(metrics, "shoal_agent_run_seconds_sum") < 60
    assert ("shoal_agent_events_open_count", frozenset()) in metrics


def check_cloud(metrics: Metrics) -> None:
    assert value(metrics, "shoal_ready") == 1
    assert value(metrics, "shoal_gateway_devices") == 1
    assert value(metrics, "shoal_gateway_syncs_total", outcome="changed") >= 1
    assert value(metrics, "shoal_rollout_acknowledgements_total") >= 1
    assert value(metrics, "shoal_telemetry_reports_total", result="counted") >= EVENTS
    assert value(metrics, "shoal_telemetry_tunnels") == 1
    assert value(metrics, "shoal_bus_records_total", did="published") >= EVENTS
    made = {"method": "POST", "status": "201"}
    posts = [
        count
        for (name, labels), count in metrics.items()
        if name == "shoal_admin_http_requests_total" and made.items() <= dict(labels).items()
    ]
    assert sum(posts) >= 2, "tokens and a release were made"
