"""The fleet benchmark measures real installations: it counts what was installed, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.bench import fleet
from tests.helpers.memory_fetcher import Answer, Ask

AGENTS = 20


@pytest.mark.slow
def test_every_agent_installs_and_is_timed_once() -> None:
    spread = fleet.measure(AGENTS)
    assert len(spread.seconds) == spread.agents == AGENTS
    assert spread.seconds == sorted(spread.seconds)
    assert spread.seconds[0] > 0


@pytest.mark.slow
def test_rows_tell_the_rate_of_the_whole_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "AGENTS", AGENTS)
    installed, whole, median, late, rate, ratio = fleet.rows()
    assert installed.value == AGENTS
    assert installed.holds
    assert median.value <= late.value <= whole.value
    assert rate.value == pytest.approx(AGENTS / whole.value)
    assert ratio.value == pytest.approx(rate.value / fleet.AWS_A_SECOND)


@pytest.mark.slow
async def test_an_agent_that_was_given_a_forged_file_does_not_count(tmp_path: Path) -> None:
    some = fleet.Fleet(tmp_path, 2)
    try:
        await some.publish()
        some.release()
        for file in some.repository.bundle(fleet.TASK, 1):
            some.repository.lies[file.digest.removeprefix("sha256:")] = forged(file.size)
        spread = await fleet.install_all(some)
        codes = {ack.error_code for agent in some.agents for ack in agent.store.outbox.acks()}
    finally:
        some.close()
    assert (spread.agents, spread.seconds) == (2, [])
    assert "FILE_DAMAGED" in codes


def forged(size: int) -> Callable[[Ask], Answer]:
    """Other bytes, as many."""
    return lambda _ask: Answer(200, b"!" * size)
