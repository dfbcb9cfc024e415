"""Limits and paces of releases, each with its unit."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSettings:
    """What a release may hold and how often it is looked at.

    Attributes:
        stages_max: Stages that one release may have.
        reason_chars_max: Characters of the reason that an operator gives.
        page_size: Releases on a page when the caller does not say.
        page_size_max: Releases on a page at most.
        census_rows: Devices that one statement of a count reads.
        census_age_ms_max: A count of the fleet younger than this is given out again.
        census_rest_factor: After counts that took t, the next starts no sooner than t times this.
        census_kept_max: Counts remembered before old ones are dropped.
        curve_points_max: Points of a coverage curve; a longer one is thinned.
        watch_poll_ms: How often a watcher looks when nothing woke it, for changes made by another process.
        watch_rest_ms: A watcher is not woken more often than this.
        watch_releases: Newest releases that a namespace's watcher follows, beside those that are active.
        tick_ms: How often running releases are looked at for automatic promotion.
    """

    stages_max: int = 20
    reason_chars_max: int = 1024
    page_size: int = 100
    page_size_max: int = 500
    census_rows: int = 5_000
    census_age_ms_max: int = 250
    census_rest_factor: int = 20
    census_kept_max: int = 4_096
    curve_points_max: int = 500
    watch_poll_ms: int = 1_000
    watch_rest_ms: int = 100
    watch_releases: int = 50
    tick_ms: int = 500
