"""Limits of a dry run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunSettings:
    """Limits of a dry run.

    Attributes:
        dry_run_events_max: Events that one dry run takes.
    """

    dry_run_events_max: int = 1000


SETTINGS = DryRunSettings()
