import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from cloud.observability.logs import set_up_logs
from cloud.observability.traces import TraceSettings, make_provider, traceparent_of


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    made = io.StringIO()
    set_up_logs("info", made)
    yield made
    root.handlers[:], level = before
    root.setLevel(level)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_both_kinds_of_loggers_write_one_json_object_a_line(stream: io.StringIO) -> None:
    structlog.get_logger("a").info("released", release="r1")
    logging.getLogger("b").warning("slow %s", "disk")
    first, second = lines(stream)
    assert (first["event"], first["release"], first["level"]) == ("released", "r1", "info")
    assert (second["event"], second["level"], second["logger"]) == ("slow disk", "warning", "b")


def test_lines_below_the_level_are_dropped(stream: io.StringIO) -> None:
    structlog.get_logger("a").debug("quiet")
    logging.getLogger("b").debug("quiet")
    assert lines(stream) == []


def test_a_secret_is_masked_by_its_name(stream: io.StringIO) -> None:
    structlog.get_logger("a").info("made", token="shoal_abc", Authorization="Bearer x")
    (line,) = lines(stream)
    assert (line["token"], line["Authorization"]) == ("***", "***")


def test_a_line_carries_the_trace_it_was_written_in(stream: io.StringIO) -> None:
    provider = make_provider(TraceSettings())
    with provider.get_tracer("test").start_as_current_span("release") as span:
        structlog.get_logger("a").info("released")
    (line,) = lines(stream)
    assert str(line["trace_id"]) in traceparent_of(span)
    assert str(line["span_id"]) in traceparent_of(span)
