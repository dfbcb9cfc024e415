"""One suite for both kinds of VM: what a task does comes to the same in an interpreter and in a process."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from shoal_task import upload
from shoal_task.run_state import MemoryKept, RunState

from device_agent.vm import process, process_child
from device_agent.vm.errors import VmClosed, VmCreateFailed, VmDeadlinePassed, VmRetired
from device_agent.vm.interface import AT_ONCE, Emit, RunOrder, RunResult, VmLimits
from device_agent.vm.pool import InterpreterPool, Pool, ProcessPool
from device_agent.vm.process_vm import ProcessVm
from device_agent.vm.settings import VmSettings
from device_agent.vm.turns import Priority
from tests.helpers.tasks_in_vm import make_event, make_spec

pytestmark = pytest.mark.slow
process.install()
ROOT = Path(__file__).parents[2]
POOLS: dict[str, type[InterpreterPool] | type[ProcessPool]] = {
    "interpreter": InterpreterPool,
    "process": ProcessPool,
}
MODEL = ROOT / "tests/golden/model_v2.hex"


PATIENT = VmLimits(wall_ms=20_000)


@dataclass(frozen=True)
class Case:
    """A task, the events that it gets in order, and what each must come to."""

    source: str
    outcomes: tuple[str, ...]
    payloads: tuple[bytes, ...] = (b"",)
    limits: VmLimits = PATIENT
    fresh: bool = False
    same_message: bool = True


COUNT = """
    from shoal_task import emit
    count = 0
    def on_event(event):
        global count
        count += 1
        emit("out", bytes([count]))
"""
SHORT = VmLimits(wall_ms=250)
CASES = {
    "emit and log": Case(
        """
        from shoal_task import emit, log
        def on_event(event):
            log("one " + "é" * 3000)
            print("two", "words", end="")
            emit("out", event.payload)
            emit("out", memoryview(event.payload)[1:])
        """,
        ("ok", "ok"),
        payloads=(b"abc", bytes(60_000)),
    ),
    "globals last": Case(COUNT, ("ok",) * 3, payloads=(b"",) * 3),
    "fresh globals": Case(COUNT, ("ok",) * 3, payloads=(b"",) * 3, fresh=True),
    "exception": Case(
        """
        from shoal_task import emit
        class Broken(ValueError): pass
        def deeper(text): raise Broken(text)
        def on_event(event):
            emit("out", b"lost")
            deeper("é" * 500)
        """,
        ("TASK_ERROR", "TASK_ERROR"),
        payloads=(b"", b""),
    ),
    "exit": Case(
        "import os, sys\ndef on_event(event): os._exit(3) if event.payload else sys.exit(4)",
        ("TASK_ERROR", "TASK_ERROR"),
        payloads=(b"", b"x"),
    ),
    "no entry": Case("def other(event): pass", ("TASK_INVALID",)),
    "broken module": Case("def on_event(event): pass\n1 / 0", ("TASK_INVALID",)),
    "emit at import": Case(
        "from shoal_task import emit\nemit('out', b'')\ndef on_event(event): pass", ("TASK_INVALID",)
    ),
    "topic": Case(
        "from shoal_task import emit\ndef on_event(event): emit('other', b'')", ("TASK_ERROR",)
    ),
    "output": Case(
        """
        from shoal_task import emit
        def on_event(event):
            try:
                for _ in range(len(event.payload)): emit("out", bytes(97))
            except BaseException: pass
        """,
        ("ok", "OUTPUT_LIMIT", "ok"),
        payloads=(b"12", b"123", b"1"),
        limits=VmLimits(output_bytes=200),
    ),
    "log lines": Case(
        """
        def on_event(event):
            for number in range(len(event.payload)): print(number)
        """,
        ("ok", "LOG_LIMIT", "ok"),
        payloads=(b"12", b"123", b"1"),
        limits=VmLimits(log_lines=2),
    ),
    "wall, loop": Case(
        "def on_event(event):\n    print('began')\n    while not event.payload: pass",
        ("ok", "WALL_LIMIT", "ok"),
        payloads=(b"x", b"", b"x"),
        limits=SHORT,
    ),
    "processor time": Case(
        "def on_event(event):\n    print('began')\n    while not event.payload: pass",
        ("ok", "CPU_LIMIT", "ok"),
        payloads=(b"x", b"", b"x"),
        limits=VmLimits(wall_ms=20_000, cpu_ms=100),
    ),
    "waiting takes no processor time": Case(
        "import time\ndef on_event(event): time.sleep(0.4)",
        ("ok",),
        limits=VmLimits(wall_ms=20_000, cpu_ms=200),
    ),
    "wall, catch all": Case(
        """
        def on_event(event):
            while True:
                try:
                    while True: pass
                except BaseException: pass
        """,
        ("WALL_LIMIT",),
        limits=SHORT,
    ),
    "wall, sleep": Case(
        "import time\ndef on_event(event): time.sleep(60)", ("WALL_LIMIT",), limits=SHORT
    ),
    "memory, one request": Case(
        "def on_event(event): return len(bytearray(len(event.payload) << 28))",
        ("ok", "MEMORY_LIMIT", "ok"),
        payloads=(b"", b"x", b""),
    ),
    "memory, growth": Case(
        """
        def on_event(event):
            kept = []
            while True: kept.append(bytes(4000))
        """,
        ("MEMORY_LIMIT",),
        same_message=False,  # killed or refused: whichever comes first
    ),
    "memory of tensors": Case(
        """
        from shoal_task import tensor
        def on_event(event):
            print("began")
            held = [tensor.zeros(1_000_000) for _ in event.payload]
        """,
        ("ok", "ENGINE_MEMORY_LIMIT", "ok"),
        payloads=(b"1", b"123", b"1"),
        limits=VmLimits(wall_ms=20_000, engine_mib=9),
    ),
    "memory of tensors, catch all": Case(
        """
        from shoal_task import tensor
        held = []
        def on_event(event):
            while True:
                try: held.append(tensor.zeros(100_000))
                except BaseException: pass
        """,
        ("ENGINE_MEMORY_LIMIT",),
        limits=VmLimits(wall_ms=20_000, engine_mib=9),
    ),
    "stdlib": Case(
        """
        import dataclasses, datetime, decimal, hashlib, json, math, random, re, statistics
        from shoal_task import log
        def on_event(event):
            log(json.dumps([math.sqrt(4.0), str(decimal.Decimal(1) / 8)]))
            log(str(datetime.date(2026, 11, 23) + datetime.timedelta(days=8)))
            log(hashlib.sha256(b"").hexdigest() + re.sub("a+", "b", "aaac"))
            log(str(random.Random(1).random()) + str(statistics.median([1, 5, 9])))
        """,
        ("ok",),
    ),
    "engine": Case(
        """
        from shoal_task import emit, tensor
        def on_event(event):
            x = tensor.frombuffer(event.payload, "uint8").astype("float32")
            emit("out", tensor.relu(x - 2.0).astype("uint8"))  # any buffer, without a copy before
        """,
        ("ok",),
        payloads=(bytes([1, 2, 3, 9]),),
    ),
    "no resource": Case(
        "from shoal_task import model\ndef on_event(event): model.load('none')", ("TASK_ERROR",)
    ),
    **{
        f"refused: {code}": Case(
            f"""
            import os, sys, io, builtins, time
            def on_event(event):
                {code}
            """,
            ("TASK_ERROR",),
        )
        for code in (
            "open('/etc/passwd')",
            "io.open('/etc/passwd')",
            "os.listdir('/')",
            "os.fork()",
            "os.system('true')",
            "os.environ['HOME']",
            "os.kill(1, 0)",
            "sys.settrace(None)",
            "sys.setrecursionlimit(9)",
            "import socket",
            "import subprocess",
            "import ctypes",
            "import threading",
            "import _thread; _thread.start_new_thread(print, ())",
            "import signal",
            "import numpy",
        )
    },
}  # fmt: skip


async def run_case(pool: Pool, case: Case) -> list[RunResult]:  # type: ignore[type-arg]  # of either kind
    spec = replace(make_spec(case.source, limits=case.limits), fresh=case.fresh)
    return [await pool.run(spec, make_event(payload)) for payload in case.payloads]


@pytest.mark.parametrize("name", CASES)
async def test_both_kinds_come_to_the_same(name: str) -> None:
    case, results = CASES[name], {}
    for kind, make in POOLS.items():
        pool = make()
        results[kind] = await run_case(pool, case)
        await pool.close()
    for kind, runs in results.items():
        assert tuple(run.outcome for run in runs) == case.outcomes, f"{kind}: {runs}"
        assert all(run.wall_us >= 0 for run in runs)
    told = [
        [
            replace(
                run,
                wall_us=0,
                memory_bytes=0,
                engine_bytes=0,
                message=run.message if case.same_message else "",
            )
            for run in runs
        ]
        for runs in results.values()
    ]
    assert told[0] == told[1]


@pytest.fixture(params=POOLS)
async def pool(request: pytest.FixtureRequest) -> AsyncIterator[InterpreterPool | ProcessPool]:
    made = POOLS[request.param](VmSettings(vms_max=4, runs_parallel_max=1))
    yield made
    await made.close()


async def test_a_model_is_loaded_and_run(
    pool: InterpreterPool | ProcessPool, tmp_path: Path
) -> None:
    path = tmp_path / "golden.shoalmodel"
    path.write_bytes(bytes.fromhex("".join(MODEL.read_text().split())))
    spec = make_spec(
        """
        from shoal_task import emit, model
        loaded = model.load("golden.shoalmodel")
        def on_event(event):
            emit("out", repr((loaded.inputs, loaded.outputs)).encode())
        """,
        resources={"golden.shoalmodel": str(path)},
    )
    result = await pool.run(spec, make_event())
    assert (result.outcome, result.message) == ("ok", "")
    assert b"float32" in result.emits[0].payload


async def test_a_cancelled_call_is_killed_and_the_next_event_gets_another_vm(
    pool: InterpreterPool | ProcessPool,
) -> None:
    spec = make_spec(
        "def on_event(event):\n    while not event.payload: pass", limits=VmLimits(wall_ms=60_000)
    )
    started = asyncio.Event()
    running = asyncio.create_task(pool.run(spec, make_event(), on_start=started.set))
    await started.wait()
    await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(20):
        assert (await pool.run(spec, make_event(b"x"))).outcome == "ok"


async def test_turns_go_by_priority_and_are_announced(pool: InterpreterPool | ProcessPool) -> None:
    began: list[str] = []
    spec = make_spec("import time\ndef on_event(event): time.sleep(0.05)")
    other = make_spec("def on_event(event): pass")
    background = RunOrder(priority=Priority.BACKGROUND)
    await asyncio.gather(
        pool.run(spec, make_event(), on_start=lambda: began.append("first")),
        pool.run(spec, make_event(), order=background, on_start=lambda: began.append("last")),
        pool.run(other, make_event(), on_start=lambda: began.append("second")),
    )
    assert began == ["first", "second", "last"]


async def test_what_does_not_begin_in_time_is_dropped(pool: InterpreterPool | ProcessPool) -> None:
    spec = make_spec("import time\ndef on_event(event): time.sleep(0.5)")
    started = asyncio.Event()
    running = asyncio.create_task(pool.run(spec, make_event(), on_start=started.set))
    await started.wait()
    with pytest.raises(VmDeadlinePassed):
        await pool.run(spec, make_event(), order=RunOrder(within_ms=30))
    with pytest.raises(VmDeadlinePassed):
        await pool.run(spec, make_event(), order=RunOrder(within_ms=0))
    assert not running.done()
    assert (await running).outcome == "ok"


async def test_a_retired_version_finishes_what_runs(pool: InterpreterPool | ProcessPool) -> None:
    spec = make_spec(
        "import time\nfrom shoal_task import emit\n"
        "def on_event(event):\n    time.sleep(0.1)\n    emit('out', event.payload)"
    )
    started = asyncio.Event()
    running = asyncio.create_task(pool.run(spec, make_event(b"x"), on_start=started.set))
    await started.wait()
    waiting = asyncio.create_task(pool.run(spec, make_event()))
    await asyncio.sleep(0)
    await pool.retire(spec.key)
    assert (await running).emits == (Emit(topic="out", payload=b"x"),)
    with pytest.raises(VmRetired):
        await waiting
    assert pool.stats().vms == 0


async def test_what_raises_when_its_turn_comes_does_not_run_and_frees_the_place(
    pool: InterpreterPool | ProcessPool,
) -> None:
    def refuse() -> None:
        raise RuntimeError("not now")

    spec = make_spec(COUNT)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not now"):
            await pool.run(spec, make_event(), on_start=refuse)
        assert (await pool.run(spec, make_event())).outcome == "ok"
    assert (await pool.run(spec, make_event())).emits[0].payload == b"\3"


async def test_close_ends_what_runs(pool: InterpreterPool | ProcessPool) -> None:
    spec = make_spec("def on_event(event):\n    while True: pass", limits=VmLimits(wall_ms=60_000))
    started = asyncio.Event()
    running = asyncio.create_task(pool.run(spec, make_event(), on_start=started.set))
    await started.wait()
    await pool.close()
    assert (await running).outcome == "RUN_CANCELLED"
    with pytest.raises(VmClosed):
        await pool.run(spec, make_event(), order=AT_ONCE)


async def test_a_process_that_dies_by_itself_is_told_from_a_kill() -> None:
    pool = ProcessPool()
    loop = make_spec("def on_event(event):\n    while not event.payload: pass")
    started = asyncio.Event()
    running = asyncio.create_task(pool.run(loop, make_event(), on_start=started.set))
    await started.wait()
    (vm,) = [vm for vm in pool._alive if isinstance(vm, ProcessVm)]
    assert (await vm.ready).outcome == "ok"
    assert vm._process is not None
    vm._process.kill()
    assert (await running).outcome == "TASK_CRASHED"
    assert (await pool.run(loop, make_event(b"x"))).outcome == "ok"
    await pool.close()


async def test_a_process_that_cannot_start_is_vm_create_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    pool = ProcessPool()
    with pytest.raises(VmCreateFailed, match="could not be started"):
        await pool.run(make_spec(COUNT), make_event())
    assert pool.stats().vms == 0
    await pool.close()


def test_both_refuse_the_same_audit_events() -> None:
    text = (ROOT / "device_agent/vm/native/audit.cpp").read_text()
    allowed = re.search(r"kAllowed\[\] = \{(.*?)\};", text, re.S)
    refused = re.search(r"kRefusals\[\] = \{(.*?)\};", text, re.S)
    otherwise = re.search(r'kOtherwise = "(.*?)"', text)
    assert allowed is not None
    assert refused is not None
    assert otherwise is not None
    assert set(re.findall(r'"([^"]+)"', allowed[1])) == process_child.ALLOWED
    pairs = re.findall(r'\{"([^"]+)", "([^"]+)"\}', refused[1])
    assert dict(pairs) == process_child.REFUSED
    assert otherwise[1] == process_child.OTHERWISE


async def test_the_host_answers_what_a_run_asks(pool: InterpreterPool | ProcessPool) -> None:
    spec = make_spec("""
        import _shoal
        from shoal_task import emit, log
        def on_event(event):
            for data in (b"", b"abc", bytes(100_000), b"refuse"):
                try: emit("out", _shoal.ask("turn", data)[:3])
                except ValueError as error: log(str(error))
    """)

    def answer(what: str, data: bytes) -> bytes:
        assert what == "turn"
        if data == b"refuse":
            raise ValueError("not this one")
        return data[::-1]

    result = await pool.run(spec, make_event(), answer=answer)
    assert (result.outcome, result.logs) == ("ok", ("not this one",))
    assert [emit.payload for emit in result.emits] == [b"", b"cba", bytes(3)]
    alone = await pool.run(spec, make_event())
    assert alone.logs[0] == "there is nobody here to answer 'turn'"


async def test_a_run_that_waits_for_an_answer_is_killed(
    pool: InterpreterPool | ProcessPool,
) -> None:
    """A host that is busy elsewhere: the answer comes after the limit, and is for nobody."""
    spec = make_spec(
        "import _shoal\ndef on_event(event): _shoal.ask('slow', b'')", limits=VmLimits(wall_ms=200)
    )
    warm = await pool.run(make_spec("def on_event(event): pass"), make_event())
    assert warm.outcome == "ok"
    waited = threading.Event()

    def answer(_what: str, _data: bytes) -> bytes:
        waited.wait(0.5)
        return b"late"

    result = await pool.run(spec, make_event(), answer=answer)
    assert result.outcome == "WALL_LIMIT"


async def test_the_guest_api_keeps_asks_and_computes(pool: InterpreterPool | ProcessPool) -> None:
    """kv, table, clock, upload, image and signal in a VM, where their modules load by themselves."""
    spec = make_spec("""
        from shoal_task import clock, config, image, kv, log, signal, table, tensor, upload
        WORD = config.get("word", "none")
        def on_event(event):
            kv.put("n", str(int(kv.get("n") or b"0") + 1).encode())
            table.append("t", {"n": kv.get("n").decode()})
            small = image.resize(tensor.full((6, 8, 3), 7.0), 3, 4)
            re, im = signal.rfft(tensor.ones(12))
            upload.send("out", image.to_bytes(small))
            log(f"{WORD} {clock.wall_ms()} {kv.keys()} {table.rows('t')} {re[0].item():.0f}")
    """)
    kept, parts = MemoryKept(), upload.Parts()
    for number in (1, 2):
        state = RunState(kept, lambda: 42)
        result = await pool.run(spec, make_event(), answer=state.answer)
        assert (result.outcome, result.message) == ("ok", "")
        kept.apply(state.changes)
        rows = [{"n": str(n)} for n in range(1, number + 1)]
        assert result.logs == (f"none 42 ['n'] {rows} 12",)
        assert parts.add(result.emits[0].payload) == bytes([7]) * 36
    assert kept.by_key == {"n": b"2"}
