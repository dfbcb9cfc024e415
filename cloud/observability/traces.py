"""Traces: one from a release to the device's report, joined by the W3C traceparent that the release carries.

Rules of this module:

- Without an endpoint nothing is exported and spans cost next to nothing; trace ids are made all the same, so that
  a release's traceparent, the device's acknowledgement and log lines can be joined by hand.
- A process sets its provider up once, from its main().
"""

from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

QUEUE_SPANS_MAX = 8_192
EXPORT_TIMEOUT_MS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSettings:
    """Where spans go.

    Attributes:
        otlp_endpoint: URL of an OTLP gRPC collector; empty exports nothing.
        service: Name of the process in the traces.
    """

    otlp_endpoint: str = ""
    service: str = "shoal-cloud"


def make_provider(settings: TraceSettings, exporter: SpanExporter | None = None) -> TracerProvider:
    """Builds a provider; `exporter` takes the place of the OTLP one."""
    provider = TracerProvider(resource=Resource.create({"service.name": settings.service}))
    if exporter is None and settings.otlp_endpoint:
        # Loaded by those who export: every other start is faster without it.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        insecure = not settings.otlp_endpoint.startswith("https://")
        exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint, insecure=insecure)
    if exporter is not None:
        provider.add_span_processor(
            BatchSpanProcessor(
                exporter,
                max_queue_size=QUEUE_SPANS_MAX,
                export_timeout_millis=EXPORT_TIMEOUT_MS,
            )
        )
    return provider


def set_up_traces(settings: TraceSettings) -> TracerProvider:
    """Makes the provider that every tracer of the process uses; shut it down at the end."""
    provider = make_provider(settings)
    trace.set_tracer_provider(provider)
    return provider


def traceparent_of(span: trace.Span) -> str:
    """W3C traceparent of a span; empty when tracing was not set up."""
    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, trace.set_span_in_context(span))
    return carrier.get("traceparent", "")
