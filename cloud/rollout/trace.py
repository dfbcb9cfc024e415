"""The trace of a release: one id that goes with it to every device and comes back with every acknowledgement.

Rules of this module:

- Where a trace is being recorded, the release belongs to it; elsewhere it still gets an id of its own, in the W3C
  form, so that logs of cloud and devices can be joined.
"""

from collections.abc import Callable

from opentelemetry import trace

SAMPLED = 1


def new_traceparent(entropy: Callable[[int], bytes]) -> str:
    """A W3C traceparent: that of the span now recorded, or a new one."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        return _format(context.trace_id, context.span_id, int(context.trace_flags))
    # All zeros means "none" to W3C; the lowest bit keeps clear of it.
    return _format(int.from_bytes(entropy(16)) | 1, int.from_bytes(entropy(8)) | 1, SAMPLED)


def _format(trace_id: int, span_id: int, flags: int) -> str:
    return f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"
