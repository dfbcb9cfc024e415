from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import INVALID_SPAN

from cloud.observability.traces import TraceSettings, make_provider, traceparent_of


def test_without_an_endpoint_spans_have_ids_and_go_nowhere() -> None:
    provider = make_provider(TraceSettings())
    with provider.get_tracer("test").start_as_current_span("release") as span:
        version, trace_id, span_id, _ = traceparent_of(span).split("-")
    assert version == "00"
    assert (len(trace_id), len(span_id)) == (32, 16)
    provider.shutdown()


def test_spans_reach_the_exporter_under_the_name_of_the_process() -> None:
    exporter = InMemorySpanExporter()
    provider = make_provider(TraceSettings(service="shoal-test"), exporter)
    with provider.get_tracer("test").start_as_current_span("release"):
        pass
    provider.shutdown()
    (span,) = exporter.get_finished_spans()
    assert span.name == "release"
    assert span.resource.attributes["service.name"] == "shoal-test"


def test_no_span_has_no_traceparent() -> None:
    assert traceparent_of(INVALID_SPAN) == ""
