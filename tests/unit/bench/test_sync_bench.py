"""Business requests are measured against the bare app, and every comparison is a ratio with its peer's name."""

import json
from pathlib import Path

import pytest

from tests.bench import sync
from tests.bench.rows import write


@pytest.mark.slow
async def test_business_requests_are_told_as_ratios_to_the_bare_app(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sync, "ROUNDS", 1)
    monkeypatch.setattr(sync, "REQUESTS", 500)
    rows = await sync.beside_business()
    without, unchanged, changed, *added = rows
    for row in (without, unchanged, changed):
        assert (row.unit, row.peer, row.value) == ("ratio", sync.PEER, row.ratio)
    assert without.value > unchanged.value > changed.value > 0
    assert [row.unit for row in added] == ["us added", "us added"]
    assert 0 < added[0].value < added[1].value
    write(rows, tmp_path / "bench" / "main.json")
    written = json.loads((tmp_path / "bench" / "main.json").read_text())
    assert [row.keys() for row in written] == len(rows) * [
        {"name", "value", "unit", "target", "holds", "peer", "ratio"}
    ]
