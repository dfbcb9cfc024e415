"""What the keys part counts.

Rules of this module:

- Labels are kinds and outcomes, never names of roles, tasks or devices.
"""

from prometheus_client import Counter, Gauge

ENROLMENTS = Counter(
    "shoal_keys_enrolments", "Tries to enrol: enrolled, refused, busy.", ["outcome"]
)
SECONDS_LEFT = Gauge(
    "shoal_keys_seconds_left",
    "Until the first of a kind expires: root, targets, namespace, task, snapshot, timestamp, ca, server.",
    ["kind"],
)
CLONES = Counter("shoal_keys_clones", "Devices found to share their certificate with another.")
