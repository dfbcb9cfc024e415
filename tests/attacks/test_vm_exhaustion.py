"""What a task must not use up: each program ends with its named outcome, and the next event runs.

How soon it ends, at random moments and two at once, is measured in tests/soak/test_hostile.py.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from device_agent.vm import process
from device_agent.vm.interface import VmLimits
from device_agent.vm.pool import InterpreterPool
from tests.helpers.hostile_programs import PROGRAMS, Hostile
from tests.helpers.tasks_in_vm import make_event, make_spec

process.install()

LIMITS = VmLimits(wall_ms=200, memory_mib=24)
ENDED = [one for one in PROGRAMS if one.ending != "native"]
LEFT_BEHIND = [one for one in PROGRAMS if one.ending == "native"]
NEIGHBOUR = "from shoal_task import emit\ndef on_event(event): emit('out', event.payload)"


@pytest.fixture
async def pool() -> AsyncIterator[InterpreterPool]:
    made = InterpreterPool()
    yield made
    await made.close()


@pytest.mark.slow
@pytest.mark.parametrize("program", ENDED, ids=lambda one: one.name)
async def test_ended_by_its_limit(pool: InterpreterPool, program: Hostile) -> None:
    spec, neighbour = make_spec(program.source, limits=LIMITS), make_spec(NEIGHBOUR)
    await pool.run(neighbour, make_event())
    result, beside = await asyncio.gather(
        pool.run(spec, make_event(b"0")), pool.run(neighbour, make_event(b"beside"))
    )
    assert result.outcome in program.outcomes, result
    assert (beside.outcome, beside.emits[0].payload) == ("ok", b"beside")
    assert (await pool.run(spec, make_event(b"good"))).outcome == "ok"


@pytest.mark.slow
@pytest.mark.parametrize("program", LEFT_BEHIND, ids=lambda one: one.name)
async def test_left_behind_and_the_next_event_runs(pool: InterpreterPool, program: Hostile) -> None:
    spec = make_spec(program.source, limits=LIMITS)
    result = await pool.run(spec, make_event(b"0"))
    assert result.outcome in program.outcomes, result
    assert (await pool.run(spec, make_event(b"good"))).outcome == "ok"
