"""Memory limits hold on each allocator that a process may have, and others are refused at its start."""

import pytest

from tests.helpers.vm_script import run_vm_script

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("allocator", ["", "pymalloc", "malloc"])
def test_a_greedy_run_meets_its_memory_limit(allocator: str) -> None:
    done = run_vm_script(
        """
        source = "def on_event(event):\\n    held = []\\n    while True: held.append([bytes(1000)])"
        async def main():
            pool = InterpreterPool()
            limits = VmLimits(wall_ms=20_000, memory_mib=24)
            for _ in range(2):
                result = await pool.run(make_spec(source, limits=limits), make_event())
                assert result.outcome == "MEMORY_LIMIT", result
            await pool.close()
            print("done")
        asyncio.run(main())
        """,
        environment={"PYTHONMALLOC": allocator},
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-4000:]


@pytest.mark.parametrize(
    "environment", [{"PYTHONMALLOC": "debug"}, {"PYTHONMALLOC": "mimalloc"}, {"PYTHONDEVMODE": "1"}]
)
def test_an_allocator_that_hides_sizes_is_refused(environment: dict[str, str]) -> None:
    done = run_vm_script("print('made')", environment={"PYTHONMALLOC": "", **environment})
    assert (done.returncode, done.stdout) == (1, ""), done
    assert "VmNotInstalled" in done.stderr
    assert "PYTHONMALLOC=malloc" in done.stderr
