"""Random task programs for the soak, good, slow, greedy, hostile and fuzzing, each with the outcomes it may have."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from device_agent.vm.interface import VmLimits
from tests.soak import fuzz

_USUAL = VmLimits(wall_ms=2_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One task and how its runs may end."""

    name: str
    source: str
    outcomes: frozenset[str]
    limits: VmLimits = _USUAL


_SHORT = VmLimits(wall_ms=40)
_OK = frozenset({"ok"})
_WALL = frozenset({"WALL_LIMIT"})
_EITHER = frozenset({"ok", "WALL_LIMIT"})
_MEMORY = frozenset({"MEMORY_LIMIT", "WALL_LIMIT"})

PROGRAMS = (
    Program(
        name="good",
        source="from shoal_task import emit\ndef on_event(event): emit('out', event.payload)",
        outcomes=_OK,
    ),
    Program(
        name="modules",
        source="import collections, dataclasses, datetime, decimal, json, random, re, statistics\n"
        "@dataclasses.dataclass\nclass P:\n    x: int\n"
        "def on_event(event):\n"
        "    for n in range(50): json.loads(json.dumps({str(n): [P(n).x, str(datetime.datetime(2026, 1, 1))]}))\n"
        "    decimal.Decimal(2).sqrt(); re.sub('a', 'b', 'aa'); random.Random(1).random()",
        outcomes=_OK,
    ),
    Program(
        name="tensors",
        source="from shoal_task import emit, tensor\n"
        "def on_event(event):\n"
        "    x = tensor.frombuffer(bytes(65536), 'uint8', (256, 256)).astype('float32')\n"
        "    for _ in range(5): y = tensor.softmax(tensor.relu(x @ x + 1.0))\n"
        "    emit('out', bytes([tensor.argmax(y[0]).item()]))",
        outcomes=_OK,
    ),
    Program(
        name="error",
        source="def on_event(event):\n    raise ValueError('on purpose')",
        outcomes=frozenset({"TASK_ERROR"}),
    ),
    Program(
        name="invalid",
        source="import socket\ndef on_event(event): pass",
        outcomes=frozenset({"TASK_INVALID"}),
    ),
    Program(
        name="chatty",
        source="def on_event(event):\n    while True: print('x')",
        outcomes=frozenset({"LOG_LIMIT"}),
    ),
    Program(
        name="flood",
        source="from shoal_task import emit\ndef on_event(event):\n    while True: emit('out', bytes(1000))",
        outcomes=frozenset({"OUTPUT_LIMIT"}),
    ),
    Program(
        name="near_the_limit",
        source="import time\ndef on_event(event):\n"
        "    end = time.monotonic() + 0.038 + event.payload[0] / 60_000\n"
        "    while time.monotonic() < end: pass",
        outcomes=_EITHER,
        limits=_SHORT,
    ),
    Program(
        name="loop",
        source="def on_event(event):\n    while True: pass",
        outcomes=_WALL,
        limits=_SHORT,
    ),
    Program(
        name="catch_all",
        source="def on_event(event):\n    while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass\n        finally: event = None",
        outcomes=_WALL,
        limits=_SHORT,
    ),
    Program(
        name="sleeper",
        source="import time\ndef on_event(event):\n    while True:\n        try: time.sleep(99)\n"
        "        except BaseException: pass",
        outcomes=_WALL,
        limits=_SHORT,
    ),
    Program(
        name="finaliser",
        source="class Stuck:\n    def __del__(self):\n        while True:\n            try: self.x = 1\n"
        "            except BaseException: pass\nheld = Stuck()\ndef on_event(event): pass",
        outcomes=_OK,
    ),
    Program(
        name="uninterruptible",
        source="import re\ndef on_event(event): re.match('(a+)+$', 'a' * 21 + 'b')",
        outcomes=_EITHER,
        limits=_SHORT,
    ),
    Program(
        name="greedy_small",
        source="def on_event(event):\n    held = []\n    while True:\n        try: held.append(bytes(500))\n"
        "        except BaseException: pass",
        outcomes=_MEMORY,
        limits=VmLimits(wall_ms=3_000, memory_mib=16),
    ),
    Program(
        name="greedy_big",
        source="def on_event(event):\n    held = [bytearray(3_000_000) for _ in range(1000)]",
        outcomes=_MEMORY,
        limits=VmLimits(wall_ms=3_000, memory_mib=24),
    ),
    Program(
        name="greedy_classes",
        source="import collections, dataclasses\ndef on_event(event):\n    held = []\n    while True:\n"
        "        try:\n            held.append(collections.namedtuple('N', 'a b c'))\n"
        "            held.append(dataclasses.make_dataclass('D', ['a', 'b']))\n"
        "        except MemoryError: pass",
        outcomes=_MEMORY,
        limits=VmLimits(wall_ms=1_000, memory_mib=12),
    ),
    Program(
        name="recursion",
        source="import json\ndef on_event(event):\n    value = []\n    for _ in range(50_000): value = [value]\n"
        "    try: json.dumps(value)\n    except RecursionError: pass\n"
        "    try: sorted([2, 1], key=lambda n: on_event(event))\n    except RecursionError: pass",
        outcomes=frozenset({"ok", "WALL_LIMIT", "MEMORY_LIMIT"}),
        limits=VmLimits(wall_ms=200),
    ),
)


_FUZZED = frozenset({"ok", "WALL_LIMIT", "MEMORY_LIMIT", "ENGINE_MEMORY_LIMIT", "LOG_LIMIT"})


def programs(chance: random.Random) -> Iterator[Program]:
    """The programs of a seeded run, without end: every other one fuzzes the next C modules of a random order."""
    while True:
        for modules in itertools.batched(
            chance.sample(fuzz.MODULES, len(fuzz.MODULES)), 6, strict=False
        ):
            yield chance.choice(PROGRAMS)
            source, limits = fuzz.fuzz(chance, modules)
            name = " ".join(("fuzz", *modules))
            yield Program(name=name, source=source, outcomes=_FUZZED, limits=limits)
