"""What a real agent process lets be seen: JSON logs, Prometheus metrics, one span an installation.

Rules of this module:

- Logs go to stderr, one JSON object a line; task names, codes and counts, never payloads or secrets.
- Metrics are the process's own registry, served on 127.0.0.1 only, and only when a port is configured.
- The installation's span is a child of the release's trace context; without an exporter it costs nothing.
"""

import logging
import sys
import time
from collections import Counter as Count
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from device_agent.agent.observer import Observer
from device_agent.agent.store.held import Held
from device_agent.events.frames import FeedAnswer
from device_agent.tasks.director import TaskInstruction
from device_agent.vm.interface import OK, RunResult, Wear

RUN_BUCKETS_S = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)


def configure_logs(level: str) -> None:
    """JSON lines on stderr, from `level` up."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


class ProcessObserver(Observer):
    """Logs, counts and traces.

    Attributes:
        registry: The metrics.
        log: The agent's logger.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.log: Any = structlog.get_logger()
        self._tracer = trace.get_tracer("shoal.agent")
        registry = self.registry
        self._events = Counter(
            "shoal_agent_events_total", "Events fed.", ["answer"], registry=registry
        )
        self._runs = Counter(
            "shoal_agent_runs_total", "Runs ended.", ["task", "outcome"], registry=registry
        )
        self._run_seconds = Histogram(
            "shoal_agent_run_seconds",
            "Wall time of runs.",
            buckets=RUN_BUCKETS_S,
            registry=registry,
        )
        self._installs = Counter(
            "shoal_agent_installs_total", "Installations.", ["task", "outcome"], registry=registry
        )
        self._failures = Counter(
            "shoal_agent_link_failures_total", "Failed calls.", ["call", "code"], registry=registry
        )
        self._events_open = Gauge(
            "shoal_agent_events_open_count", "Events that wait for a run.", registry=registry
        )
        self._left_behind = Gauge(
            "shoal_agent_vms_left_behind_count",
            "VMs in calls that do not come back.",
            registry=registry,
        )
        self._left_bytes = Gauge(
            "shoal_agent_vms_left_bytes",
            "Memory that VMs have not given back.",
            registry=registry,
        )
        self._reports_open = Gauge(
            "shoal_agent_reports_open_count", "Reports that wait for the cloud.", registry=registry
        )

    @contextmanager
    def serve(self, port: int) -> Iterator[int]:
        """Serves the metrics on the loopback address; gives the port, which the system chooses for 0."""
        server, thread = start_http_server(port, addr="127.0.0.1", registry=self.registry)
        try:
            yield server.server_port
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def warn(self, message: str) -> None:
        """Something is wrong, and the agent goes on."""
        self.log.warning(message)

    def watch(self, held: Held) -> None:
        """Takes the queues' lengths from the store; called by the thread that owns it."""
        agent = held.agent()
        self._events_open.set(agent.events_open)
        self._reports_open.set(agent.reports_open)

    def fed(self, answers: Sequence[FeedAnswer]) -> None:
        """Events came in."""
        for (status, code), count in Count((one.status, one.code) for one in answers).items():
            self._events.labels(answer=code or status).inc(count)

    def ran(self, task: str, version: int, result: RunResult) -> None:
        """A run ended, and its end is durable."""
        self._runs.labels(task=task, outcome=result.outcome).inc()
        self._run_seconds.observe(result.wall_us / 1_000_000)
        if result.outcome != OK:
            self.log.warning(
                "run failed",
                task=task,
                version=version,
                outcome=result.outcome,
                message=result.message,
            )
        if result.logs:
            self.log.info("task log", task=task, version=version, lines=list(result.logs))

    def broken(self, task: str, code: str, message: str) -> None:
        """A task cannot run just now."""
        self.log.error("task cannot run", task=task, code=code, message=message)

    def installed(self, instruction: TaskInstruction, took_ms: int) -> None:
        """A version was switched on."""
        self._installs.labels(task=instruction.task, outcome="installed").inc()
        self._span(instruction, took_ms)
        self.log.info(
            "installed",
            task=instruction.task,
            version=instruction.version,
            release=instruction.release_id,
            took_ms=took_ms,
        )

    def put_off(self, instruction: TaskInstruction, code: str, message: str) -> None:
        """An installation failed or was deferred."""
        self._installs.labels(task=instruction.task, outcome=code).inc()
        self.log.warning(
            "not installed",
            task=instruction.task,
            version=instruction.version,
            code=code,
            message=message,
        )

    def sync_failed(self, code: str, message: str) -> None:
        """A Sync failed."""
        self._failures.labels(call="sync", code=code).inc()
        self.log.warning("sync failed", code=code, message=message)

    def tunnel_failed(self, code: str, message: str) -> None:
        """A conversation broke."""
        self._failures.labels(call="tunnel", code=code).inc()
        self.log.warning("tunnel failed", code=code, message=message)

    def worn(self, code: str, message: str) -> None:
        """VMs left too much behind: the process begins anew."""
        self.log.warning("worn", code=code, message=message)

    def wear(self, wear: Wear) -> None:
        """What only a new process gives back."""
        self._left_behind.set(wear.left_behind)
        self._left_bytes.set(wear.left_bytes)

    def storage_failed(self, code: str, message: str) -> None:
        """The store was damaged and began anew, or cannot be written now."""
        self.log.error("storage failed", code=code, message=message)

    def _span(self, instruction: TaskInstruction, took_ms: int) -> None:
        if not instruction.traceparent:
            return
        carrier = {"traceparent": instruction.traceparent}
        context = TraceContextTextMapPropagator().extract(carrier)
        end_ns = time.time_ns()
        span = self._tracer.start_span(
            "shoal.install",
            context=context,
            start_time=end_ns - took_ms * 1_000_000,
            attributes={"shoal.task": instruction.task, "shoal.version": instruction.version},
        )
        span.end(end_ns)
