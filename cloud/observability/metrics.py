"""The cloud's Prometheus metrics that belong to no single part; each part declares its own beside its code.

Rules of this module:

- Labels are bounded: routes, not paths; codes, never ids of devices.
"""

from prometheus_client import Counter, Gauge, Histogram

HTTP_REQUESTS = Counter(
    "shoal_admin_http_requests", "Requests of operators over HTTP.", ["method", "route", "status"]
)
HTTP_SECONDS = Histogram(
    "shoal_admin_http_seconds",
    "Time to answer operators over HTTP.",
    ["route"],
    buckets=(0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10),
)
GRPC_REQUESTS = Counter(
    "shoal_admin_grpc_requests", "Requests of operators over gRPC.", ["method", "status"]
)
EVENT_STREAMS = Gauge("shoal_admin_event_streams", "Event streams that are open.")
READY = Gauge("shoal_ready", "1 when the cloud answers /readyz with 200.")
