"""Hostile task programs: each behaves until its moment, then does what a task must not get away with.

Rules of this module:

- A payload that begins with b"g" asks for a good run, so that a VM can be made and its task loaded first; it prints the
  number of its thread. Otherwise the payload is how many microseconds the program behaves for before it turns hostile:
  where in a run that happens is random.
- `ending` says what is promised. "python": the run ends by itself within the grace, and the VM with it. "native": one C
  call may not come back; the run is answered for all the same and its VM is left behind. "refused": an error of the
  task, at once.
"""

import textwrap
from dataclasses import dataclass

from device_agent.vm.interface import (
    ENGINE_MEMORY_LIMIT,
    LOG_LIMIT,
    MEMORY_LIMIT,
    OK,
    OUTPUT_LIMIT,
    TASK_ERROR,
    WALL_LIMIT,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """One program.

    Attributes:
        name: What it does.
        source: Its module.
        ending: "python", "native" or "refused".
        outcomes: What its runs may come to.
    """

    name: str
    source: str
    ending: str
    outcomes: frozenset[str]


_FRAME = """
import _thread, time
{before}
def on_event(event):
    if event.payload.startswith(b"g"): return print(_thread.get_native_id())
    turns = time.perf_counter() + int(event.payload) / 1e6
    while time.perf_counter() < turns: pass
{body}
"""


def _hostile(
    name: str, ending: str, outcome: str | tuple[str, ...], body: str, before: str = ""
) -> Hostile:
    outcomes = (outcome,) if isinstance(outcome, str) else outcome
    source = _FRAME.format(
        before=textwrap.dedent(before).strip("\n"),
        body=textwrap.indent(textwrap.dedent(body).strip("\n"), "    "),
    )
    return Hostile(name=name, source=source, ending=ending, outcomes=frozenset(outcomes))


_LOOPS = (
    _hostile("pure loop", "python", WALL_LIMIT, "while True: pass"),
    _hostile(
        "catch-all loop", "python", WALL_LIMIT,
        """
        while True:
            try:
                while True: pass
            except BaseException: continue
        """,
    ),
    _hostile(
        "nested handlers with finally", "python", WALL_LIMIT,
        """
        def deep(n):
            try:
                try:
                    if n: deep(n - 1)
                    while True: sum(range(50))
                except BaseException: deep(n)
                finally: deep(n)
            except BaseException:
                deep(n)
            finally:
                deep(n)
        deep(3)
        """,
    ),
    _hostile(
        "generator", "python", WALL_LIMIT, "for _ in forever(): pass",
        """
        def forever():
            while True:
                try: yield 1
                except BaseException: pass
                finally: pass
        """,
    ),
    _hostile(
        "deep recursion", "python", WALL_LIMIT,
        """
        def deep():
            try: deep()
            except BaseException: pass
            deep()
        while True:
            try: deep()
            except BaseException: pass
        """,
    ),
    _hostile(
        "recursion through C", "python", WALL_LIMIT,
        """
        def deep(_=0):
            return list(map(deep, [1, 2]))
        while True:
            try: deep()
            except BaseException: pass
        """,
    ),
    _hostile(
        "sleeping", "python", WALL_LIMIT,
        """
        while True:
            try: time.sleep(1000)
            except BaseException: pass
        """,
    ),
    _hostile(
        "waiting in a host call", "python", WALL_LIMIT,
        """
        while True:
            try: border.ask("kv", b"get")
            except BaseException: pass
        """,
        "from shoal_task import border",
    ),
    _hostile(
        "finaliser", "python", WALL_LIMIT, "Stuck()",
        """
        class Stuck:
            def __del__(self):
                while True:
                    try:
                        while True: pass
                    except BaseException: pass
        """,
    ),
    _hostile(
        "str of the exception", "python", WALL_LIMIT, "raise Stuck",
        """
        class Stuck(Exception):
            def __str__(self):
                while True: pass
        """,
    ),
    _hostile(
        "coroutines", "python", WALL_LIMIT,
        """
        class Stay:
            def __await__(self):
                while True:
                    try: yield
                    except BaseException: pass
        async def stay():
            try: await Stay()
            finally: await Stay()
        held = stay()
        while True:
            try: held.send(None)
            except BaseException: held = stay()
        """,
    ),
)  # fmt: skip

_NATIVE = (
    _hostile("regex", "native", WALL_LIMIT, 're.match("(a+)+$", "a" * 24 + "b")', "import re"),
    _hostile("big int", "native", WALL_LIMIT, "while True: 3 ** 1_500_000"),
    _hostile(
        "chained map", "native", WALL_LIMIT,
        """
        while True:
            chain = iter(range(3))
            for _ in range(20_000): chain = map(abs, chain)
            list(chain)
        """,
    ),
    _hostile("one long sum", "native", WALL_LIMIT, "sum(itertools.repeat(1, 250_000_000))", "import itertools"),
)  # fmt: skip

# Each call takes seconds by itself, and ends when its run is killed.
_KERNELS = (
    _hostile(
        "long native kernel", "python", WALL_LIMIT,
        """
        while True:
            try: wide @ wide
            except BaseException: pass
        """,
        """
        from shoal_task import tensor
        wide = tensor.zeros((2_200, 2_200))
        """,
    ),
    _hostile(
        "long native sort", "python", WALL_LIMIT,
        """
        while True:
            try: tensor.argsort(line)
            except BaseException: pass
        """,
        """
        from shoal_task import tensor
        line = tensor.zeros(1_500_000)
        """,
    ),
)  # fmt: skip

_GREEDY = (
    _hostile(
        "memory in small pieces", "python", (MEMORY_LIMIT, WALL_LIMIT),
        """
        held = []
        while True:
            try: held.append(bytes(200))
            except BaseException: pass
        """,
    ),
    _hostile(
        "memory in big pieces", "python", (MEMORY_LIMIT, WALL_LIMIT),
        """
        held = []
        while True:
            try: held.append(bytearray(3_000_000))
            except BaseException: pass
        """,
    ),
    _hostile("memory at once", "python", MEMORY_LIMIT, "bytearray(1 << 40)"),
    _hostile(
        "memory in classes", "python", (MEMORY_LIMIT, WALL_LIMIT),
        """
        held = []
        while True:
            try: held.append(dataclasses.make_dataclass("D", ["a", "b", "c"]))
            except BaseException: pass
        """,
        "import dataclasses",
    ),
    _hostile(
        "tensors without end", "python", ENGINE_MEMORY_LIMIT,
        """
        held = []
        while True:
            try: held.append(tensor.zeros(10_000))
            except BaseException: pass
        """,
        "from shoal_task import tensor",
    ),
    _hostile(
        "output flood", "python", (OUTPUT_LIMIT, WALL_LIMIT),
        """
        while True:
            try: emit("out", bytes(5_000))
            except Exception: pass
        """,
        "from shoal_task import emit",
    ),
    _hostile(
        "log flood", "python", (LOG_LIMIT, WALL_LIMIT),
        """
        while True:
            try: print("x" * 10_000)
            except Exception: pass
        """,
    ),
)  # fmt: skip

_REACHING_OUT = (
    _hostile(
        "monkey patches", "python", WALL_LIMIT,
        """
        builtins.len = builtins.bytes = json.dumps = math.sqrt = None
        sys.modules["json"] = sys.modules["shoal_task"] = None
        sys.meta_path.clear()
        time.sleep = time.perf_counter = None
        warnings.filters[:] = [("error", None, Warning, None, 0)]
        decimal.getcontext().prec = 1
        while True: pass
        """,
        "import builtins, decimal, json, math, sys, warnings",
    ),
    _hostile("trace functions", "refused", TASK_ERROR, "sys.settrace(lambda *_: None)", "import sys"),
    _hostile("trace all threads", "refused", TASK_ERROR, "sys._settraceallthreads(None)", "import sys"),
    _hostile("threads", "refused", TASK_ERROR, "_thread.start_new_thread(print, ())", "import _thread"),
    _hostile("signals", "refused", TASK_ERROR, "import signal"),
    _hostile("signals to the main thread", "refused", TASK_ERROR, "_thread.interrupt_main()", "import _thread"),
    _hostile(
        "lock that never opens", "refused", TASK_ERROR,
        "held = _thread.allocate_lock(); held.acquire(); held.acquire()", "import _thread",
    ),
)  # fmt: skip

PROGRAMS = (*_LOOPS, *_KERNELS, *_NATIVE, *_GREEDY, *_REACHING_OUT)
EVERY_OUTCOME = {OK} | {outcome for program in PROGRAMS for outcome in program.outcomes}
