"""What goes into a VM and what comes out."""

import pytest

from device_agent.vm.interface import Emit, VmLimits
from device_agent.vm.pool import InterpreterPool
from tests.helpers.tasks_in_vm import make_event, make_spec


async def test_bytes_in_bytes_out(pool: InterpreterPool) -> None:
    spec = make_spec("""
        from shoal_task import emit, log
        def on_event(event):
            log(f"event {event.event_id}")
            print("two", "words")
            emit("out", event.payload[::-1])
    """)
    result = await pool.run(spec, make_event(b"abc", event_id=7))
    assert (result.outcome, result.message) == ("ok", "")
    assert result.emits == (Emit(topic="out", payload=b"cba"),)
    assert result.logs == ("event 7", "two words")


async def test_globals_last_from_run_to_run_of_one_key(pool: InterpreterPool) -> None:
    spec = make_spec("""
        from shoal_task import emit
        count = 0
        def on_event(event):
            global count
            count += 1
            emit("out", bytes([count]))
    """)
    payloads = [(await pool.run(spec, make_event())).emits[0].payload for _ in range(3)]
    assert payloads == [b"\1", b"\2", b"\3"]


async def test_two_keys_share_nothing(pool: InterpreterPool) -> None:
    first = make_spec("""
        import json
        json.dumps = None
        def on_event(event): pass
    """)
    second = make_spec("""
        import json
        from shoal_task import emit
        def on_event(event): emit("out", json.dumps([1]).encode())
    """)
    assert (await pool.run(first, make_event())).outcome == "ok"
    assert (await pool.run(second, make_event())).emits[0].payload == b"[1]"


async def test_modules_of_the_bundle_and_packages(pool: InterpreterPool) -> None:
    spec = make_spec(
        """
        from shoal_task import emit
        from parts.wire import encode
        def on_event(event): emit("out", encode(3))
        """,
        modules={"parts": "", "parts.wire": "def encode(n): return bytes(n)"},
    )
    assert (await pool.run(spec, make_event())).emits[0].payload == bytes(3)


async def test_an_exception_is_task_error_with_where_and_no_emits(pool: InterpreterPool) -> None:
    spec = make_spec("""
        from shoal_task import emit
        def deeper(): raise ValueError("no such digit")
        def on_event(event):
            emit("out", b"lost")
            deeper()
    """)
    result = await pool.run(spec, make_event())
    assert result.outcome == "TASK_ERROR"
    assert result.emits == ()
    assert result.message == (
        "ValueError: no such digit (main.py:6 in on_event, main.py:3 in deeper)"
    )
    assert pool.stats().idle == 1  # an exception does not cost the VM


async def test_exit_ends_the_run_only(pool: InterpreterPool) -> None:
    spec = make_spec("""
        import os, sys
        def on_event(event):
            if event.payload: os._exit(3)
            sys.exit(3)
    """)
    for payload in (b"", b"x"):
        result = await pool.run(spec, make_event(payload))
        assert (result.outcome, result.message[:10]) == ("TASK_ERROR", "SystemExit")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def on_event(event) -> None: pass\nraise RuntimeError('at import')", "at import"),
        ("def another(event): pass", "module:function"),
        ("import numpy\ndef on_event(event): pass", "cannot import 'numpy'"),
        (
            "from shoal_task import emit\nemit('out', b'')\ndef on_event(event): pass",
            "while the module loads",
        ),
    ],
)
async def test_a_task_that_does_not_load_is_invalid(
    pool: InterpreterPool, source: str, why: str
) -> None:
    result = await pool.run(make_spec(source), make_event())
    assert result.outcome == "TASK_INVALID"
    assert why in result.message
    assert pool.stats().vms == 0


async def test_an_unpermitted_topic_is_refused_by_name(pool: InterpreterPool) -> None:
    result = await pool.run(
        make_spec("from shoal_task import emit\ndef on_event(event): emit('other', b'')"),
        make_event(),
    )
    assert result.outcome == "TASK_ERROR"
    assert "topic 'other' is not permitted" in result.message


async def test_output_limit(pool: InterpreterPool) -> None:
    spec = make_spec(
        """
        from shoal_task import emit
        def on_event(event):
            try:
                for _ in range(event.payload[0]): emit("out", bytes(97))
            except BaseException: pass
        """,
        limits=VmLimits(output_bytes=200),
    )
    assert (await pool.run(spec, make_event(b"\2"))).outcome == "ok"
    result = await pool.run(spec, make_event(b"\3"))
    assert (result.outcome, result.emits) == ("OUTPUT_LIMIT", ())


async def test_log_limit_keeps_the_first_lines(pool: InterpreterPool) -> None:
    spec = make_spec(
        """
        def on_event(event):
            for number in range(event.payload[0]): print(number)
        """,
        limits=VmLimits(log_lines=2),
    )
    assert (await pool.run(spec, make_event(b"\2"))).outcome == "ok"
    result = await pool.run(spec, make_event(b"\3"))
    assert (result.outcome, result.logs) == ("LOG_LIMIT", ("0", "1"))


async def test_a_damaged_event_is_a_task_error(pool: InterpreterPool) -> None:
    spec = make_spec("def on_event(event): pass")
    result = await pool.run(spec, b"not an event")
    assert (result.outcome, "header" in result.message) == ("TASK_ERROR", True)


async def test_tensors_of_the_engine(pool: InterpreterPool) -> None:
    spec = make_spec("""
        from shoal_task import emit, tensor
        def on_event(event):
            x = tensor.frombuffer(event.payload, "uint8").astype("float32")
            emit("out", tensor.relu(x - 2.0).astype("uint8").tobytes())
    """)
    result = await pool.run(spec, make_event(bytes([1, 2, 3, 9])))
    assert (result.message, result.emits[0].payload) == ("", bytes([0, 0, 1, 7]))
