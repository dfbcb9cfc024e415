"""The allow-list holds what it names, and the guest is closed otherwise."""

import re
from pathlib import Path

import pytest

from device_agent.vm import stdlib
from device_agent.vm.interface import VmLimits
from device_agent.vm.pool import InterpreterPool
from tests.helpers.tasks_in_vm import make_event, make_spec

_EVERYTHING = (
    *stdlib.PYTHON_MODULES,
    *stdlib.C_MODULES,
    *stdlib.BUILTIN_MODULES,
    *stdlib.GUEST_API,
)


async def test_every_module_of_the_allow_list_imports_in_a_guest(pool: InterpreterPool) -> None:
    source = f"""
        from shoal_task import log
        def on_event(event):
            import importlib
            for name in {_EVERYTHING!r}:
                try: importlib.import_module(name)
                except Exception as error: log(f"{{name}}: {{error!r}}")
    """
    limits = VmLimits(wall_ms=20_000)
    result = await pool.run(make_spec(source, limits=limits), make_event())
    assert (result.message, result.logs) == ("", ())


def test_a_module_that_its_package_makes_needs_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As collections.abc: a file in 3.13.0, and in later ones json under another name, so to speak."""
    package = tmp_path / "shoal_alias"
    package.mkdir()
    (package / "own.py").touch()
    making = "import json, sys\nsys.modules['shoal_alias.other'] = json\n"
    (package / "__init__.py").write_text(making)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert stdlib.is_alias("shoal_alias.other")
    assert not stdlib.is_alias("shoal_alias.own")
    assert not stdlib.is_alias("json.decoder")


async def test_the_usual_modules_compute(pool: InterpreterPool) -> None:
    source = """
        import dataclasses, datetime, decimal, hashlib, json, math, random, re, statistics, sys, collections
        from shoal_task import log
        @dataclasses.dataclass(frozen=True)
        class Point:
            x: int
        def on_event(event):
            log(json.dumps([Point(1).x, math.sqrt(4.0), str(decimal.Decimal(1) / 8)]))
            log(str(datetime.date(2026, 11, 23) + datetime.timedelta(days=8)))
            log(hashlib.sha256(b"").hexdigest()[:8] + re.sub("a+", "b", "aaac"))
            log(str(random.Random(1).randrange(10)) + str(statistics.median([1, 5, 9])))
            log(str(collections.Counter("aab").most_common(1)))
            sys.set_int_max_str_digits(0)  # what follows makes CPython import _pylong
            log(str(str(3 ** 30_000).endswith("0001") and int("7" * 9_000) % 7 == 0))
    """
    result = await pool.run(make_spec(source), make_event())
    assert result.message == ""
    assert result.logs == (
        '[1, 2.0, "0.125"]', "2026-12-01", "e3b0c442bc", "25", "[('a', 2)]", "True"
    )  # fmt: skip


async def test_a_vm_starts_with_the_least_and_gets_the_real_modules_when_asked(
    pool: InterpreterPool,
) -> None:
    source = """
        import sys
        started = {"posix", "time", "io", "encodings", "codecs", "zipimport"} & set(sys.modules)
        from shoal_task import log
        def on_event(event):
            import codecs, gc, importlib.machinery, io, os, time, warnings
            log(repr((sorted(started), gc.isenabled(), os.path.join("a", "b"), time.monotonic() > 0)))
            log(io.TextIOWrapper(io.BytesIO("ä".encode("latin-1")), "iso8859-1").read())
            log(codecs.lookup("utf-8").incrementaldecoder().decode("ß".encode()) + "€".encode("utf-16-le").hex())
            log(repr((issubclass(io.TextIOWrapper, io.TextIOBase), importlib.machinery.SOURCE_SUFFIXES)))
            try: "x".encode("cp1252")
            except LookupError as error: log(str(error))
            with warnings.catch_warnings(record=True) as caught:
                warnings.warn_explicit("old", UserWarning, "main.py", 1, module_globals=globals())
            log(str(caught[0].message))
    """
    result = await pool.run(make_spec(source), make_event())
    assert result.message == ""
    assert result.logs == (
        "([], True, 'a/b', True)",
        "ä",
        "ßac20",
        "(True, ['.py'])",
        "unknown encoding: cp1252",
        "old",
    )


@pytest.mark.parametrize(
    "name",
    ["socket", "subprocess", "ctypes", "threading", "signal", "numpy", "sqlite3", "multiprocessing",
     "_posixsubprocess", "faulthandler", "device_agent.vm", "importlib.util", "tracemalloc", "site"],
)  # fmt: skip
async def test_other_imports_are_refused_with_the_permitted_way(
    pool: InterpreterPool, name: str
) -> None:
    result = await pool.run(
        make_spec(f"def on_event(event):\n    import {name}", key="imports"), make_event()
    )
    assert result.outcome == "TASK_ERROR"
    assert "it may import shoal_task, the modules of its bundle" in result.message
    await pool.retire("imports")


def test_the_documented_modules_are_on_the_allow_list() -> None:
    text = Path(__file__).parents[3].joinpath("docs/reference/guest.md").read_text()
    named = set(re.findall(r"`([\w.]+)`", text.split("## Standard library")[1]))
    named -= {"os.path", "os.fspath", "os.urandom", "os.cpu_count"}
    assert named <= set(_EVERYTHING), f"documented but refused: {named - set(_EVERYTHING)}"


async def test_a_traceback_names_no_path_of_the_agent(pool: InterpreterPool) -> None:
    source = "import json\ndef on_event(event): json.loads('[')"
    result = await pool.run(make_spec(source), make_event())
    assert "<json>" in result.message, result.message
    assert "/" not in result.message


async def test_no_planner_is_loaded_into_the_vm_of_a_task(pool: InterpreterPool) -> None:
    """A model brings what reads its file and asks for plans; who makes them is another VM."""
    source = """
        import sys
        from shoal_task import emit, tensor
        def on_event(event):
            if event.payload:
                from shoal_task import model
            emit("out", " ".join(name for name in sys.modules if "engine.p" in name).encode())
    """
    spec = make_spec(source)
    assert (await pool.run(spec, make_event())).emits[0].payload == b""
    (vm,) = pool._alive
    assert vm.used_bytes < 4_000_000
    loaded = (await pool.run(spec, make_event(b"x"))).emits[0].payload.decode().split()
    assert sorted(loaded) == ["device_agent.engine.plan", "device_agent.engine.plan.planned"]
