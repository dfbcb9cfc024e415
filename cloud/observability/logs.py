"""Structured logs: one JSON object a line on stderr, from structlog and from the standard library alike.

Rules of this module:

- A process sets logging up once, from its main(); importing this module changes nothing.
- A record carries what was bound to its context (request id, trace id), so that lines of one request meet.
- Secrets are never bound; a key named like one is masked all the same.
"""

import logging
import sys
from collections.abc import Iterable, MutableMapping
from typing import Any, TextIO

import structlog
from opentelemetry import trace

MASKED_KEYS = ("token", "secret", "password", "authorization", "private_key", "code_once")
LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


def mask_secrets(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Masks values whose key is named like a secret."""
    for key in event:
        if key.lower() in MASKED_KEYS:
            event[key] = "***"
    return event


def add_trace(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Adds the trace and span that the record was written in."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = f"{context.trace_id:032x}"
        event["span_id"] = f"{context.span_id:016x}"
    return event


def _shared_processors() -> Iterable[Any]:
    return (
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_trace,
        mask_secrets,
        structlog.processors.format_exc_info,
    )


def set_up_logs(level: str = "info", stream: TextIO | None = None, *, human: bool = False) -> None:
    """Sends every log line to `stream`.

    Args:
        level: debug, info, warning or error.
        stream: stderr when None.
        human: Coloured text instead of JSON.
    """
    shared = list(_shared_processors())
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if human else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(LEVELS[level])
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        cache_logger_on_first_use=False,
    )
