"""OpenTelemetry for the agent: off unless agent.toml names an endpoint."""

from collections.abc import Iterator
from contextlib import contextmanager

from device_agent.agent.errors import ConfigInvalid


@contextmanager
def configure_tracing(endpoint: str) -> Iterator[None]:
    """Exports spans to an OTLP endpoint while the context lasts; without one, spans cost nothing.

    Raises:
        ConfigInvalid: an endpoint is set, but the exporter is not installed: a device's install leaves it out.
    """
    if not endpoint:
        yield
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ConfigInvalid(
            "tracing.endpoint is set, but opentelemetry-sdk and its OTLP exporter are not installed; "
            "install them or remove the key"
        ) from error
    provider = TracerProvider(resource=Resource.create({"service.name": "shoal-agent"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    trace.set_tracer_provider(provider)
    try:
        yield
    finally:
        provider.shutdown()
