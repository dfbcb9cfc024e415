"""A model's weights are one copy for all VMs of a process: measured, not argued."""

import pytest

from device_agent.engine.format import encode_model
from device_agent.engine.graph import Constant, Graph, Operator, Port
from device_agent.engine.ops import Dtype
from tests.helpers.vm_script import run_vm_script

SIDE = 3_620  # weights of 52.4 MB
SMALL_SIDE = 700
VMS = 8


def model_of(side: int) -> bytes:
    """x (1, side) @ w (side, side)."""
    weights = Constant(dtype=Dtype.FLOAT32, shape=(side, side), data=bytes(4 * side * side))
    graph = Graph(
        inputs=(Port(name="x", dtype=Dtype.FLOAT32, shape=(1, side)),),
        outputs=(Port(name="y"),),
        operators=(Operator(op="mat_mul", inputs=("x", "w"), outputs=("y",)),),
        constants={"w": weights},
    )
    return encode_model(graph)


@pytest.mark.slow
def test_eight_vms_hold_one_copy_of_a_model(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("models")
    path, small = folder / "big.shoalmodel", folder / "small.shoalmodel"
    path.write_bytes(model_of(SIDE))
    small.write_bytes(model_of(SMALL_SIDE))
    assert path.stat().st_size > 50_000_000
    done = run_vm_script(f"""
        import gc
        source = '''
            from shoal_task import emit, model, tensor
            held = []
            def on_event(event):
                if event.payload:
                    held.append(model.load("big.shoalmodel"))
                    held.append(held[0].run(tensor.zeros((1, {SIDE})))[0])
                emit("out", b"")
        '''
        def resident_kib():
            gc.collect()
            lines = open("/proc/self/smaps_rollup").read().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("Rss:"))
        async def main():
            pool = InterpreterPool(VmSettings(vms_max={VMS}, runs_parallel_max=1))
            limits, resources = VmLimits(wall_ms=60_000), {{"big.shoalmodel": {str(path)!r}}}
            specs = [
                make_spec(source, key=str(number), resources=resources, limits=limits)
                for number in range({VMS})
            ]
            async def every(payload):
                for spec in specs:
                    result = await pool.run(spec, make_event(payload))
                    assert result.outcome == "ok", result
            first = '''
                from shoal_task import model, tensor
                small = model.load("small.shoalmodel")
                def on_event(event): small.run(tensor.zeros((1, {SMALL_SIDE})))
            '''  # the engine's own code is in memory before it is measured
            warm = make_spec(first, resources={{"small.shoalmodel": {str(small)!r}}})
            assert (await pool.run(warm, make_event())).outcome == "ok"
            await pool.retire(warm.key)
            for _ in range(3):
                await every(b"")
            before = resident_kib()
            await every(b"load")
            after = resident_kib()
            assert pool.stats().idle == {VMS}
            print("beyond one copy:", (after - before) * 1024 - os.path.getsize({str(path)!r}))
            await pool.close()
        asyncio.run(main())
    """)
    assert done.returncode == 0, done.stderr
    beyond = int(done.stdout.split(":")[1])
    assert beyond < 1_000_000, f"8 VMs with the model hold {beyond} bytes beyond one copy of it"
    assert beyond > -52_000_000, "the weights were not read at all"
