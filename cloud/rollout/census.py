"""The census: how many devices each release is for, and what became of it on them.

Rules of this module:

- One pass over the namespace's devices counts for any number of releases; it reads in pages, so that memory and the
  time that it holds the event loop are bounded.
- Targeting and bucket are those that the gateway decides with: the same functions, the same attributes.
- A count is given out again while it is young, and slow counts rest before the next: counting never takes more than
  1 / (1 + rest factor) of a process's time.
"""

import bisect
import dataclasses
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.rollout.machine import Counts
from cloud.rollout.metrics import CENSUS_SECONDS
from cloud.rollout.rest import Rest
from cloud.rollout.settings import RolloutSettings
from cloud.store.tables import devices, release_devices
from cloud.targeting.attributes import stored_attributes
from cloud.targeting.bucket import bucket
from cloud.targeting.targeting import Targeting, compile_matcher
from device_agent.clock import Clock


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Audience:
    """Whom to count: targeting and the shares of the stages, growing. `release_id` "" has no acknowledgements."""

    release_id: str
    targeting: Targeting
    salt: str
    shares_ppm: tuple[int, ...]


class _Tally:
    """Counts of one audience, by cohort: the devices that join with stage i."""

    def __init__(self, audience: Audience, outcomes: Mapping[str, str]) -> None:
        self.audience = audience
        self._matches = compile_matcher(audience.targeting)
        self._outcomes = outcomes
        self._rows = [[0, 0, 0, 0] for _ in audience.shares_ppm]

    def add(self, device_id: str, attributes: Mapping[str, str]) -> None:
        if not self._matches(attributes):
            return
        place = bucket(self.audience.salt, device_id)
        cohort = bisect.bisect_right(self.audience.shares_ppm, place)
        if cohort == len(self._rows):
            return
        row = self._rows[cohort]
        outcome = self._outcomes.get(device_id)
        row[0] += 1
        row[1] += outcome is not None
        row[2] += outcome == "installed"
        row[3] += outcome == "failed"

    def counts(self) -> tuple[Counts, ...]:
        return tuple(
            Counts(targeted=t, notified=n, installed=i, failed=f) for t, n, i, f in self._rows
        )


async def take_census(
    connection: AsyncConnection, namespace: str, audiences: Sequence[Audience], page_rows: int
) -> list[tuple[Counts, ...]]:
    """Counts each audience by cohort, in one pass."""
    ids = [audience.release_id for audience in audiences if audience.release_id]
    outcomes = await _outcomes(connection, namespace, ids)
    tallies = [_Tally(audience, outcomes.get(audience.release_id, {})) for audience in audiences]
    by_attribute = any(audience.targeting.attributes for audience in audiences)
    after = ""
    while page := await _devices(connection, namespace, after, page_rows, by_attribute):
        for device_id, attributes in page:
            for tally in tallies:
                tally.add(device_id, attributes)
        after = page[-1][0]
    return [tally.counts() for tally in tallies]


class Census:
    """Remembers counts for a short time."""

    def __init__(self, clock: Clock, settings: RolloutSettings) -> None:
        self._clock = clock
        self._settings = settings
        # (namespace, audience) -> (fresh until, counts)
        self._kept: dict[tuple[str, str], tuple[int, tuple[Counts, ...]]] = {}
        self._rests: dict[str, Rest] = {}  # by namespace

    async def count(
        self, connection: AsyncConnection, namespace: str, audiences: Sequence[Audience]
    ) -> list[tuple[Counts, ...]]:
        """Counts for each audience, in order; each as old as the settings allow."""
        began_ns = self._clock.monotonic_ns()
        # Taken now: what is kept may be forgotten while the rest is counted.
        known = {one.release_id: self._fresh(namespace, one, began_ns) for one in audiences}
        missing = [one for one in audiences if known[one.release_id] is None]
        if missing:
            counted = await take_census(connection, namespace, missing, self._settings.census_rows)
            new = dict(zip((one.release_id for one in missing), counted, strict=True))
            self._keep(namespace, new, began_ns)
            known |= new
        return [known[one.release_id] or () for one in audiences]

    def forget(self, namespace: str) -> None:
        """Counts anew next time: something was just changed by an operator."""
        for key in [key for key in self._kept if key[0] == namespace]:
            del self._kept[key]

    def _fresh(self, namespace: str, audience: Audience, now_ns: int) -> tuple[Counts, ...] | None:
        until_ns, counts = self._kept.get((namespace, audience.release_id), (0, ()))
        return counts if now_ns < until_ns else None

    def _keep(self, namespace: str, new: dict[str, tuple[Counts, ...]], began_ns: int) -> None:
        now_ns = self._clock.monotonic_ns()
        CENSUS_SECONDS.observe((now_ns - began_ns) / 1e9)
        until_ns = now_ns + self._rest(namespace).after_ns(now_ns - began_ns)
        if len(self._kept) + len(new) > self._settings.census_kept_max:
            self._kept = {key: kept for key, kept in self._kept.items() if kept[0] > now_ns}
        self._kept.update({(namespace, key): (until_ns, counts) for key, counts in new.items()})

    def _rest(self, namespace: str) -> Rest:
        settings = self._settings
        return self._rests.setdefault(
            namespace, Rest(settings.census_rest_factor, settings.census_age_ms_max)
        )


async def _outcomes(
    connection: AsyncConnection, namespace: str, ids: Sequence[str]
) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {release_id: {} for release_id in ids}
    table = release_devices.c
    for release_id in ids:
        rows = await connection.execute(
            sa.select(table.device_id, table.outcome).where(
                table.namespace == namespace, table.release_id == release_id
            )
        )
        found[release_id] = {row.device_id: row.outcome for row in rows}
    return found


async def _devices(
    connection: AsyncConnection, namespace: str, after: str, rows_max: int, by_attribute: bool
) -> list[tuple[str, Mapping[str, str]]]:
    columns = [devices.c.device_id]
    if by_attribute:  # else two JSON columns a device would be read for nothing
        columns += [devices.c.attributes, devices.c.facts]
    rows = await connection.execute(
        sa.select(*columns)
        .where(
            devices.c.namespace == namespace,
            devices.c.device_id > after,
            devices.c.revoked_at_ms.is_(None),
        )
        .order_by(devices.c.device_id)
        .limit(rows_max)
    )
    if not by_attribute:
        return [(row.device_id, {}) for row in rows]
    return [(row.device_id, stored_attributes(row.attributes, row.facts)) for row in rows]
