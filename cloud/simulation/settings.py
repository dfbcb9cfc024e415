"""Limits of a dry run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DryRunSettings:
    """Limits of a dry run.

    Attributes:
        dry_run_events_max: Events that one dry run takes.
        sample_every_ms: How often a run is asked where it is.
        functions_shown: Functions in the table of where time went.
    """

    dry_run_events_max: int = 1000
    sample_every_ms: int = 2
    functions_shown: int = 8


SETTINGS = DryRunSettings()
