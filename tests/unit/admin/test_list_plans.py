"""What the database does for each list: it seeks in an index and reads a page, however many rows there are."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.helpers.admin_cloud import AdminCloud, open_cloud
from tests.helpers.schema_values import Schema

pytestmark = pytest.mark.slow
NAMES = {"app": "demo", "project": "app", "task": "hello", "device_id": "0" * 32}
# Few rows by their nature, read by whoever manages them.
SMALL = {"api_tokens", "namespaces"}


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[AdminCloud]:
    async with open_cloud(tmp_path) as opened:
        yield opened


def lists(schema: Schema) -> list[str]:
    return [
        path
        for path, methods in schema["paths"].items()
        if "get" in methods
        and any(one["name"] == "page_token" for one in methods["get"].get("parameters", ()))
    ]


async def statements(cloud: AdminCloud, path: str) -> list[tuple[str, Any]]:
    """What the second page of a list asks of the database."""
    seen: list[tuple[str, Any]] = []

    def note(_c: object, _u: object, statement: str, parameters: Any, *_: object) -> None:
        seen.append((statement, parameters))

    first = await cloud.get(path, params={"page_size": 1})
    assert first.status_code == 200, first.text
    token = first.json()["next_page_token"]
    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        await cloud.get(path, params={"page_size": 1, "page_token": token})
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    return [one for one in seen if one[0].lstrip().startswith("SELECT")]


async def test_no_list_reads_what_it_does_not_show(cloud: AdminCloud) -> None:
    task, version = await cloud.publish()
    body = {"task": task, "version": version}
    release = (await cloud.post("/releases", body)).json()["id"]
    await cloud.post("/releases", body)
    await cloud.post("/enrolment-tokens", {"count": 2})
    for path in lists(cloud.app.openapi()):
        for name, value in (NAMES | {"release_id": release}).items():
            path = path.replace("{" + name + "}", value)
        for statement, parameters in await statements(cloud, path):
            async with cloud.parts.database.read() as connection:
                plan = await connection.exec_driver_sql(
                    "EXPLAIN QUERY PLAN " + statement, parameters
                )
                steps = [str(row[-1]) for row in plan]
            if any(table in statement for table in SMALL):
                continue
            assert not any("SCAN" in step or "TEMP B-TREE" in step for step in steps), (path, steps)
