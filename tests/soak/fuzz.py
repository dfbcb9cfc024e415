"""Calls everything in the C modules that a task may import with random arguments, inside a VM that is soon killed.

Rules of this module:

- A program's seed is in its source, so one line of a log makes the same calls again.
- What `LEFT_OUT` names is not fuzzed, each for its reason; docs/reference/vm-isolation.md says what stands against it.
"""

import random

from device_agent.vm import stdlib
from device_agent.vm.interface import VmLimits

MODULES = tuple(
    name
    for name in (*stdlib.C_MODULES, *stdlib.BUILTIN_MODULES, stdlib.ENGINE_CORE)
    if name
    not in (
        "builtins",
        "sys",
        "posix",
    )  # these are the interpreter itself: tests/attacks has what is closed
)
LEFT_OUT = frozenset(
    {
        # one call may take for ever, in C: the gauntlet has them
        "math.comb", "math.factorial", "math.perm", "_operator.pow", "_operator.ipow", "_decimal.Context",
        "itertools.count", "itertools.cycle", "itertools.repeat",
        # the interpreter's own objects and crafted bytecode: not claimed
        "gc.get_objects", "gc.get_referents", "gc.get_referrers", "marshal.load", "marshal.loads",
        # says much on standard error and changes nothing
        "gc.set_debug",
    }
)  # fmt: skip

_SOURCE = """
import importlib, random
LEFT_OUT = {left_out!r}
INNER = ("__subclasses__", "__globals__", "__loader__", "__spec__", "__builtins__")
BYTES = [b"", b"a", bytes(range(256)), b"x" * 5000, bytearray(b"abc"), memoryview(b"abcdef")]
NUMBERS = [0, 1, -1, 2, 7, 255, 1000, 65536, 2**31 - 1, 2**31, -(2**31), 2**63 - 1, 2**63, -(2**64), 10**20,
           0.0, -0.0, 1.5, 1e308, float("inf"), float("nan"), 1j, True, None]
TEXTS = ["", "a", "utf-8", "strict", "\\ud800", "\\U0001f600", "%s" * 9, "i", "<3q2x", "x" * 3000, "2026-11-25", "1.5"]
def fail(*_, **__): raise ValueError("on purpose")
CALLS = [len, int, repr, list, lambda *_: None, lambda *_: 1, fail]
def argument(chance, made):
    kind = chance.randrange(9)
    if kind == 0 and made: return chance.choice(made)
    if kind == 1: return [chance.choice(NUMBERS) for _ in range(chance.randrange(5))]
    if kind == 2: return tuple(chance.choice(TEXTS + NUMBERS) for _ in range(chance.randrange(4)))
    if kind == 3: return {{chance.choice(TEXTS): chance.choice(NUMBERS)}}
    if kind == 4: return iter([chance.choice(TEXTS + BYTES + NUMBERS) for _ in range(3)])
    return chance.choice(chance.choice((BYTES, NUMBERS, TEXTS, CALLS)))
def pick(chance, module, made):
    owner = chance.choice(made) if made and chance.random() < 0.5 else module
    name = chance.choice(dir(owner))
    full = f"{{getattr(owner, '__name__', '')}}.{{name}}"
    if full in LEFT_OUT or "pow" in name or name in INNER: return None
    return getattr(owner, name)
def on_event(event):
    chance = random.Random({seed})
    modules = [importlib.import_module(name) for name in {modules!r}]
    made = []
    left = {calls}
    while left:
        left -= 1
        try:
            call = pick(chance, chance.choice(modules), made)
            if call is None: continue
            given = [argument(chance, made) for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 4)))]
            value = call(*given) if callable(call) else call
        except Exception:
            continue
        if value is not None and not isinstance(value, (int, float, str)):
            made.append(value)
            if len(made) > 12: made.pop(chance.randrange(12))
"""


def fuzz(chance: random.Random, modules: tuple[str, ...]) -> tuple[str, VmLimits]:
    """A program that fuzzes `modules`, and its limits: some end by themselves, most are killed at a random moment."""
    source = _SOURCE.format(
        left_out=set(LEFT_OUT),
        seed=chance.getrandbits(40),
        modules=modules,
        calls=chance.choice((400, -1, -1)),
    )
    return source, VmLimits(wall_ms=chance.randint(20, 120), memory_mib=chance.randint(10, 24))
