"""Pictures, signals and arrays inside a VM: the same answers as outside, and loaded only when a task names them."""

from shoal_task import image, signal, tensor

from device_agent.vm.interface import VmLimits
from device_agent.vm.pool import InterpreterPool
from tests.helpers.tasks_in_vm import make_event, make_spec

SOURCE = """
from shoal_task import emit, image, signal, tensor

def on_event(event):
    picture = image.letterbox(image.from_nv21(event.payload, height=4, width=6), 5, 5)
    emit("out", image.to_batch(image.normalise(picture)).tobytes())
    emit("out", signal.log_mel(signal.from_pcm16(event.payload * 40), bands=8).tobytes())
    emit("out", tensor.sort(tensor.var(picture, 0)).tobytes())
"""
BARE = """
import sys
from shoal_task import emit, tensor
def on_event(event):
    emit("out", str([name for name in sys.modules if name.startswith("shoal_task.")]).encode())
"""
LIMITS = VmLimits(wall_ms=5_000)


async def test_the_same_as_outside(pool: InterpreterPool) -> None:
    payload = bytes(range(100, 136))
    result = await pool.run(make_spec(SOURCE, limits=LIMITS), make_event(payload))
    assert (result.outcome, result.message) == ("ok", "")
    picture = image.letterbox(image.from_nv21(payload, height=4, width=6), 5, 5)
    assert [bytes(one.payload) for one in result.emits] == [
        image.to_batch(image.normalise(picture)).tobytes(),
        signal.log_mel(signal.from_pcm16(payload * 40), bands=8).tobytes(),
        tensor.sort(tensor.var(picture, 0)).tobytes(),
    ]


async def test_a_task_pays_only_for_what_it_names(pool: InterpreterPool) -> None:
    result = await pool.run(make_spec(BARE, limits=LIMITS), make_event())
    loaded = bytes(result.emits[0].payload).decode()
    assert "shoal_task.tensor" in loaded
    assert not any(name in loaded for name in ("arrays", "image", "signal"))
