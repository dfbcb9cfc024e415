"""The benchmark of VMs: its programs are the same task for every contender, and its figures are of what ran."""

import math

import pytest
from shoal_task import Event, testing

from device_agent.vm import process
from device_agent.vm.pool import InterpreterPool, ProcessPool
from tests.bench import vm_tasks
from tests.helpers.tasks_in_vm import make_spec

process.install()


@pytest.mark.slow
@pytest.mark.parametrize("program", vm_tasks.PROGRAMS)
async def test_every_contender_computes_the_same(program: str) -> None:
    source = (vm_tasks.ROOT / f"tests/bench/tasks/{program}.py").read_text()
    spec = make_spec(source, limits=vm_tasks.LIMITS)
    event = vm_tasks.event(3)
    names: dict[str, object] = {"__name__": program}
    exec(compile(source, program, "exec"), names)
    outside = testing.run(names["on_event"], Event.from_bytes(event))  # type: ignore[arg-type]  # of the program
    for pool in (InterpreterPool(), ProcessPool()):
        result = await pool.run(spec, event)
        assert result.outcome == "ok", result
        assert [(emit.topic, emit.payload) for emit in result.emits] == outside.emits
        await pool.close()


@pytest.mark.slow
async def test_a_race_gives_rows_for_each_contender_and_their_ratios() -> None:
    timed = await vm_tasks.race("light", 2, 4)
    rows = {row.name: row for row in vm_tasks.compared("light", 2, timed)}
    assert {len(one.run_ms) for one in timed.values()} == {4 * vm_tasks.ROUNDS["light"]}
    vms, processes = (rows[f"light, 2 at once: {name}"].value for name in ("VMs", "processes"))
    ratio = rows["light, 2 at once: VMs over processes"]
    assert ratio.ratio is not None
    assert math.isclose(ratio.ratio, vms / processes)
    assert rows["light, 2 at once: VMs, p50"].value <= rows["light, 2 at once: VMs, p99"].value


def test_quantiles_are_of_the_nearest_rank() -> None:
    timed = vm_tasks.Timed(wall_s=2.0, run_ms=[5.0, 1.0, 3.0, 2.0])
    assert (timed.per_s(), timed.quantile(0.5), timed.quantile(0.99)) == (2.0, 2.0, 5.0)
