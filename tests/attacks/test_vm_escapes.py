"""What a task must not reach from its VM: each attempt is refused, and the agent is as it was before."""

import _posixsubprocess
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from device_agent.vm import process
from device_agent.vm.pool import InterpreterPool
from tests.helpers.tasks_in_vm import make_event, make_spec

process.install()

CLOSED = {
    "read a file": "open('/etc/hostname')",
    "write a file": "open('stolen', 'w')",
    "write to the agent's descriptors": "open(1, 'w')",
    "file by io": "import io; io.open('/etc/hostname')",
    "file by FileIO": "import io; io.FileIO('/etc/hostname')",
    "file by open_code": "import io; io.open_code('/etc/hostname')",
    "run a program": "import os; os.system('true')",
    "fork": "import os; os.fork()",
    "working directory": "import os; os.chdir('/')",
    "umask": "import os; os.umask(0)",
    "kill": "import os; os.kill(os.getpid(), 9)",
    "abort": "import os; os.abort()",
    "close a descriptor": "import os; os.close(0)",
    "list a folder": "import os; os.listdir('/')",
    "look at a file": "import os; os.stat('/')",
    "remove": "import os; os.remove('x')",
    "posix by name": "import posix; posix.open('/etc/hostname', 0)",
    "posix anew": "import posix, sys; del sys.modules['posix']; import posix; posix.fork()",
    "interrupt the agent by a thread module imported anew": "import _thread, sys; "
    "del sys.modules['_thread']; import _thread; _thread.interrupt_main()",
    "file by a raw class": "import _io; "
    "{one.__name__: one for one in _io._RawIOBase.__subclasses__()}['FileIO']('/etc/hostname')",
    "set the environment": "import os; os.environ['SHOAL'] = 'x'",
    "network": "import socket",
    "libraries": "import ctypes",
    "processes": "import subprocess",
    "threads": "import _thread; _thread.start_new_thread(print, ())",
    "interrupt the agent's main thread": "import _thread; _thread.interrupt_main()",
    "wait for a lock for ever": "import _thread; held = _thread.allocate_lock(); held.acquire(); held.acquire()",
    "set the machine's clock": "import time; time.clock_settime(time.CLOCK_REALTIME, time.time())",
    "set the time zone": "import time; time.tzset()",
    "set the locale": "import locale; locale.setlocale(locale.LC_ALL, 'C')",
    "signals": "import signal",
    "the host module": "from device_agent.vm import _host",
    "other interpreters": "import _interpreters",
    "tracing": "import sys; sys.settrace(None)",
    "profiling": "import sys; sys.setprofile(None)",
    "tracing of all threads": "import sys; sys._settraceallthreads(None)",
    "profiling of all threads": "import sys; sys._setprofileallthreads(None)",
    "recursion limit": "import sys; sys.setrecursionlimit(10**6)",
    "a library by its loader": "import _imp, _frozen_importlib as f; "
    "_imp.create_dynamic(f.ModuleSpec('_posixsubprocess', None, "
    f"origin={getattr(_posixsubprocess, '__file__', 'x.so')!r}))",
    "a dangling weak reference by a ParamSpec's args": "import weakref\n    type A[**P] = int\n"
    "    weakref.ref(A.__type_params__[0].args)",
    "a dangling weak reference by typing's type": "import _typing, _weakref; _weakref.ref(_typing.ParamSpecKwargs(1))",
    "a built-in by its loader": "import _imp, _frozen_importlib as f; "
    "_imp.create_builtin(f.ModuleSpec('posix', None, origin='built-in'))",
}


@pytest.fixture
async def pool() -> AsyncIterator[InterpreterPool]:
    made = InterpreterPool()
    yield made
    await made.close()


@pytest.mark.parametrize("attempt", CLOSED.values(), ids=CLOSED)
async def test_refused_and_nothing_changed(
    pool: InterpreterPool, attempt: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mask = os.umask(0o22)
    os.umask(mask)
    environment, descriptors = dict(os.environ), os.fstat(0)
    result = await pool.run(make_spec(f"def on_event(event):\n    {attempt}"), make_event())
    assert result.outcome == "TASK_ERROR", result
    assert Path.cwd() == tmp_path
    assert os.listdir(tmp_path) == []
    assert dict(os.environ) == environment
    assert os.fstat(0).st_ino == descriptors.st_ino
    assert os.umask(mask) == mask


async def test_weak_references_to_other_types_of_typing_are_made(pool: InterpreterPool) -> None:
    source = """
        import typing, weakref
        def on_event(event):
            type A[T, **P, *Ts] = int
            for one in A.__type_params__:
                assert weakref.ref(one)() is one
            assert str(typing.Callable[A.__type_params__[1], int]) == "typing.Callable[P, int]"
    """
    result = await pool.run(make_spec(source), make_event())
    assert (result.outcome, result.message) == ("ok", "")


async def test_the_agents_environment_and_paths_are_not_to_be_seen(
    pool: InterpreterPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_SECRET", "hidden")
    source = """
        import os, sys
        from shoal_task import log
        def on_event(event): log(repr((dict(os.environ), sys.path, sys.argv, sys.executable)))
    """
    result = await pool.run(make_spec(source), make_event())
    assert result.logs == ("({}, [], [], '')",)
    assert sys.path


async def test_a_task_cannot_emit_for_another_by_the_border_itself(pool: InterpreterPool) -> None:
    source = "import _shoal\ndef on_event(event): _shoal.emit('other', b'')"
    result = await pool.run(make_spec(source), make_event())
    assert (result.outcome, result.emits) == ("TASK_ERROR", ())
    assert "not permitted" in result.message
