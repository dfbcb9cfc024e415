"""Reports of all tunnels into the database and onto the bus, many messages a transaction, each report once.

Rules of this module:

- Mark, records, counts and notices of a message commit together; a device is told of nothing that is not durable.
- A message with a gap spoils itself only.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from cloud.store.database import Database
from cloud.store.group_commit import GroupCommit
from cloud.store.high_water import raise_high_water, take_high_water
from cloud.store.tables import notices, run_counts
from cloud.store.upsert import ROWS_MAX
from cloud.telemetry.checks import EMIT
from cloud.telemetry.errors import ReportGap, TelemetryBusy
from cloud.telemetry.outlet import Outlet
from cloud.telemetry.records import topic_of
from cloud.telemetry.settings import TelemetrySettings
from cloud.telemetry.tally import ReportBatch, Tally
from device_agent.clock import Clock
from device_agent.failpoint import failpoint

STREAM = "report"


class TelemetryIngest:
    """Makes reports durable.

    Attributes:
        counted: Reports counted, and below: how many were duplicates, in a gap, or of an unknown kind.
    """

    def __init__(
        self, database: Database, outlet: Outlet, clock: Clock, settings: TelemetrySettings
    ) -> None:
        self._outlet = outlet
        self._clock = clock
        self._settings = settings
        self._commits: GroupCommit[ReportBatch, int] = GroupCommit(
            database,
            self._apply,
            queue_max=settings.queue_max,
            batch_max=settings.batch_max,
            busy=TelemetryBusy,
            committed=self._committed,
        )
        self._pending: Tally | None = None
        self.counted = 0
        self.duplicates = 0
        self.gaps = 0
        self.unknown = 0

    @property
    def waiting(self) -> int:
        """Messages in the queue."""
        return self._commits.waiting

    async def run(self) -> None:
        """Writes until it is cancelled."""
        await self._commits.run()

    async def ingest(self, batch: ReportBatch) -> int:
        """Waits for the commit; gives the sequence up to which the boot's reports are durable.

        Raises:
            ReportGap, TelemetryBusy, DatabaseBusy, DatabaseUnavailable: nothing of the message was kept.
        """
        return await self._commits.submit(batch)

    async def _apply(
        self, connection: AsyncConnection, batches: Sequence[ReportBatch]
    ) -> Sequence[int | Exception]:
        now_ms = self._clock.wall_ms()
        marks = await take_high_water(connection, STREAM, [batch.key for batch in batches], now_ms)
        before = dict(marks)
        tally = Tally(settings=self._settings)
        results: list[int | Exception] = []
        for batch in batches:
            try:
                marks[batch.key] = tally.add(batch, marks[batch.key])
                results.append(marks[batch.key])
            except ReportGap as gap:
                results.append(gap)
        await self._outlet.put(connection, tally.records)
        failpoint("telemetry.ingest.published")
        await add_runs(connection, tally)
        await _add_notices(connection, tally)
        grown = {key: mark for key, mark in marks.items() if mark != before[key]}
        await raise_high_water(connection, STREAM, grown, now_ms)
        failpoint("telemetry.ingest.before_commit")
        self._pending = tally
        return results

    def _committed(self, batches: Sequence[ReportBatch]) -> None:
        failpoint("telemetry.ingest.committed")
        tally = self._pending
        if tally is not None:
            self.counted += tally.counted
            self.duplicates += tally.duplicates
            self.gaps += tally.gaps
            self.unknown += tally.unknown
        self._outlet.committed(
            {
                topic_of(batch.peer.namespace, report.task, report.topic)
                for batch in batches
                for report in batch.reports
                if report.kind == EMIT
            }
        )


async def add_runs(connection: AsyncConnection, tally: Tally) -> None:
    """Adds to the counts of runs, in order of key: two transactions never wait for each other in a circle."""
    rows: list[dict[str, Any]] = [
        {
            "namespace": namespace,
            "task": task,
            "version": version,
            "outcome": outcome,
            "runs": runs,
            "wall_us": tally.wall_us[namespace, task, version, outcome],
        }
        for (namespace, task, version, outcome), runs in sorted(tally.runs.items())
    ]
    make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    for start in range(0, len(rows), ROWS_MAX):
        statement = make(run_counts).values(rows[start : start + ROWS_MAX])
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=[column.name for column in run_counts.primary_key.columns],
                set_={
                    "runs": run_counts.c.runs + statement.excluded.runs,
                    "wall_us": run_counts.c.wall_us + statement.excluded.wall_us,
                },
            )
        )


async def _add_notices(connection: AsyncConnection, tally: Tally) -> None:
    if tally.notices:
        rows = [
            {
                "namespace": notice.namespace,
                "device_id": notice.device_id,
                "at_ms": notice.at_ms,
                "code": notice.code,
                "message": notice.message,
            }
            for notice in tally.notices
        ]
        await connection.execute(sa.insert(notices), rows)
