"""Limits of a local fleet."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFleetSettings:
    """Limits of a local fleet.

    Attributes:
        start_seconds_max: How long a process may take until it is ready.
        stop_seconds_max: How long a process may take to drain after SIGTERM before it is killed.
        poll_seconds: How often readiness is looked at.
    """

    start_seconds_max: float = 60.0
    stop_seconds_max: float = 15.0
    poll_seconds: float = 0.02
