"""What a release service says of itself to Prometheus.

Rules of this module:

- Labels are bounded: actions of the machine, never ids.
- A step is counted once its transaction is committed.
"""

from prometheus_client import Counter, Gauge, Histogram

STEPS = Counter("shoal_rollout_steps", "Steps of releases, by what was audited.", ["action"])
OUTCOMES = Counter("shoal_rollout_acknowledgements", "Acknowledgements handed over by gateways.")
CENSUS_SECONDS = Histogram(
    "shoal_rollout_census_seconds",
    "Time to count a namespace's devices for its releases.",
    buckets=(0.002, 0.01, 0.05, 0.25, 1, 5, 30),
)
TICK_FAILURES = Counter("shoal_rollout_tick_failures", "Looks for promotions that failed.")
DAMAGED = Gauge(
    "shoal_rollout_damaged_releases",
    "Running releases that cannot be read and so are not promoted.",
)
