"""What one VM changes is seen neither by another VM nor by the main interpreter: a test per leak, both ways."""

import builtins
import json
import sys
import warnings
from pathlib import Path

import pytest

from device_agent.vm.pool import InterpreterPool
from tests.helpers.tasks_in_vm import make_event, make_spec
from tests.helpers.vm_script import run_vm_script

# What is changed, and an expression that would show it elsewhere.
LEAKS = {
    "modules": ("import sys, types; sys.modules['leaked'] = types", "'leaked' in sys.modules"),
    "builtins": ("import builtins; builtins.leaked = 1", "hasattr(builtins, 'leaked')"),
    "patch of a builtin": ("import builtins; builtins.len = None", "builtins.len is None"),
    "patch of a Python module": ("import json; json.dumps = None", "json.dumps is None"),
    "patch of a C module": ("import math; math.pi = 3", "math.pi == 3"),
    "patch of a class": ("import fractions; fractions.Fraction.x = 1", "hasattr(fractions.Fraction, 'x')"),
    "patch of the guest's clock": ("import time; time.monotonic = None", "time.monotonic is None"),
    "warnings filters": (
        "import warnings; warnings.filterwarnings('error', 'leak')",
        "any(one[1] and one[1].pattern == 'leak' for one in warnings.filters)",
    ),
    "sys.path": ("import sys; sys.path.append('/leak')", "'/leak' in sys.path"),
    "sys.meta_path": ("import sys; sys.meta_path.append(int)", "int in sys.meta_path"),
    "sys.path_hooks": ("import sys; sys.path_hooks.append(int)", "int in sys.path_hooks"),
    "exception hook": ("import sys; sys.excepthook = print", "sys.excepthook is print"),
    "unraisable hook": ("import sys; sys.unraisablehook = print", "sys.unraisablehook is print"),
    "standard output": ("import sys; sys.stdout = None", "sys.stdout is None"),
    "decimal context": ("import decimal; decimal.getcontext().prec = 3", "decimal.getcontext().prec == 3"),
    "default decimal context": ("import decimal; decimal.DefaultContext.prec = 4", "decimal.DefaultContext.prec == 4"),
    "seed of random": ("import random; random.seed(1)", "random.getstate() == random.Random(1).getstate()"),
    "digits of an int": ("import sys; sys.set_int_max_str_digits(700)", "sys.get_int_max_str_digits() == 700"),
    "garbage collector off": ("import gc; gc.disable()", "not gc.isenabled()"),
    "garbage collector's thresholds": ("import gc; gc.set_threshold(77)", "gc.get_threshold()[0] == 77"),
    "codec": (
        "import codecs, types; codecs.register(lambda name: None if name != 'leak' else (None,) * 4)",
        "leaks(lambda: codecs.lookup('leak'))",
    ),
    "error handler of codecs": (
        "import codecs; codecs.register_error('leak', print)",
        "leaks(lambda: codecs.lookup_error('leak'))",
    ),
    "csv dialect": ("import csv; csv.register_dialect('leak', delimiter=';')", "'leak' in csv.list_dialects()"),
    "csv field limit": ("import csv; csv.field_size_limit(77)", "csv.field_size_limit() == 77"),
    "abstract base class": (
        "import collections.abc; collections.abc.Sized.register(int)",
        "issubclass(int, collections.abc.Sized)",
    ),
    "copyreg": ("import copyreg; copyreg.pickle(int, str)", "int in copyreg.dispatch_table"),
    "first day of the week": ("import calendar; calendar.setfirstweekday(3)", "calendar.firstweekday() == 3"),
    "environment": ("import os; dict.__setitem__(os.environ._data, b'LEAK', b'1')", "'LEAK' in os.environ"),
    "environment by name": ("import posix; posix.environ[b'LEAK'] = b'1'", "'LEAK' in os.environ"),
}  # fmt: skip
_NAMES = (
    "builtins, calendar, codecs, collections.abc, copyreg, csv, decimal, fractions, gc, json, math, os, random, "
    "sys, time, warnings"
)
_LEAKS = """
def leaks(find):
    try: find()
    except LookupError: return False
    return True
"""


def _looking(expression: str) -> str:
    handler = f"def on_event(event): emit('out', b'%d' % ({expression}))"
    return f"import {_NAMES}\n{_LEAKS}\nfrom shoal_task import emit\n{handler}\n"


def _seen_here(expression: str) -> bool:
    names: dict[str, object] = {}
    exec(f"import {_NAMES}\n{_LEAKS}", names)
    return bool(eval(expression, names))


@pytest.mark.parametrize("name", LEAKS)
async def test_no_leak(pool: InterpreterPool, name: str) -> None:
    change, expression = LEAKS[name]
    looking = _looking(expression)
    before = await pool.run(make_spec(looking, key="before"), make_event())
    assert before.message == ""
    changing = (
        f"{looking}\n{change}"  # as the task's module loads, so that nothing cleans up behind it
    )
    changed = await pool.run(make_spec(changing, key="changed"), make_event())
    if (
        changed.outcome == "ok"
    ):  # otherwise the change itself broke what tells of it: it has happened
        assert changed.emits[0].payload == b"1"
    for key in ("before", "after"):
        result = await pool.run(make_spec(looking, key=key), make_event())
        assert (result.message, result.emits[0].payload) == ("", b"0"), key
    assert not _seen_here(expression)


async def test_what_the_agent_patches_is_not_seen_in_a_vm(
    pool: InterpreterPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json, "dumps", None)
    monkeypatch.setattr(builtins, "leaked", 1, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path, "/leak"])
    monkeypatch.setitem(sys.modules, "leaked", json)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "leak")
        for name in (
            "patch of a Python module",
            "builtins",
            "modules",
            "warnings filters",
            "sys.path",
        ):
            spec = make_spec(_looking(LEAKS[name][1]), key=name)
            result = await pool.run(spec, make_event())
            assert (result.message, result.emits[0].payload) == ("", b"0"), name


@pytest.mark.slow
def test_the_agents_site_and_pth_files_do_not_run_in_vms(tmp_path: Path) -> None:
    """Both are run by `site`, once for each interpreter that imports it; a VM has no site-packages either."""
    ran = tmp_path / "ran"
    customize = f"open({str(ran)!r}, 'a').write('x')"
    (tmp_path / "sitecustomize.py").write_text(customize)

    done = run_vm_script(
        """
        source = "import sys\\ndef on_event(event): print('site' in sys.modules, sys.path)"
        async def main():
            pool = InterpreterPool()
            for number in range(2):
                result = await pool.run(make_spec(source, key=str(number)), make_event())
                print(result.logs[0])
            await pool.close()
        asyncio.run(main())
        """,
        environment={"PYTHONPATH": str(tmp_path)},
    )
    assert (done.stdout, done.returncode) == ("False []\n" * 2, 0), done.stderr
    assert ran.read_text() == "x"  # the agent's own start
