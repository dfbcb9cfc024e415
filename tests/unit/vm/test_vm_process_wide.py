"""What all interpreters of a process share: a task tries every way that it has, and the process is as it was.

Each row is a thing of the process, the ways in which a task tries to reach it, and what shows in the agent that it did
not.
"""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from device_agent.vm.pool import InterpreterPool
from tests.helpers.tasks_in_vm import make_event, make_spec
from tests.helpers.vm_script import ROOT, run_vm_script

SECRET = "SHOAL_TEST_SECRET"


@dataclass(frozen=True)
class Shared:
    """One thing of the process.

    Attributes:
        look: What it is now, in the agent.
        ways: Expressions of a task; each must raise or change nothing.
    """

    look: Callable[[], object]
    ways: tuple[str, ...]


def _limits() -> dict[str, object]:
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {name: resource.getrlimit(getattr(resource, name)) for name in names}


def _timers() -> object:
    timers = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
    handlers = [signal.getsignal(number) for number in sorted(signal.valid_signals())]
    return [signal.getitimer(timer) for timer in timers], handlers


def _zone() -> object:
    return (time.tzname, time.timezone, time.localtime(0), time.strftime("%Z %z"))


def _descriptors() -> object:
    facts = [os.fstat(number) for number in (0, 1, 2)]
    flags = [os.get_inheritable(number) for number in (0, 1, 2)]
    return [(one.st_dev, one.st_ino, one.st_mode) for one in facts], flags, sys.stdout, sys.stderr


def _umask() -> int:
    """Linux tells it without setting it: other threads of this process never see another one."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1], 8) for line in lines if line.startswith("Umask:"))


def _c_environment() -> object:
    """As C and every child sees it, whatever os.environ says."""
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    child = subprocess.run(["/usr/bin/env"], capture_output=True, check=True).stdout
    return (
        getenv(b"LEAK"),
        getenv(b"TZ"),
        getenv(SECRET.encode()),
        b"LEAK=" in child,
        dict(os.environ),
    )


SHARED = {
    "working directory": Shared(
        os.getcwd,
        ("__import__('os').chdir('/tmp')", "__import__('posix').fchdir(0)", "__import__('os').chroot('/')"),
    ),
    "umask": Shared(_umask, ("__import__('os').umask(0o777)", "__import__('posix').umask(0o777)")),
    "rlimits": Shared(
        _limits,
        (
            "__import__('resource').setrlimit(7, (16, 16))",
            "__import__('posix').setrlimit(7, (16, 16))",
            "__import__('os').prlimit(0, 7, (16, 16))",
            "__import__('os').nice(5)",
            "__import__('os').setpriority(0, 0, 19)",
            "__import__('os').sched_setaffinity(0, {0})",
        ),
    ),
    "alarm and timers": Shared(
        _timers,
        (
            "__import__('signal').alarm(1)",
            "__import__('_signal').alarm(1)",
            "__import__('_signal').setitimer(0, 0.01)",
            "__import__('signal').signal(2, 0)",
            "__import__('os').kill(0, 0)",
            "__import__('_thread').interrupt_main()",
        ),
    ),
    "time zone": Shared(
        _zone,
        (
            "__import__('time').tzset()",
            "__import__('os').environ.__setitem__('TZ', 'Asia/Tokyo')",
            "__import__('os').putenv('TZ', 'Asia/Tokyo')",
            "__import__('posix').putenv(b'TZ', b'Asia/Tokyo')",
            "__import__('zoneinfo').reset_tzpath(['/tmp'])",
            "setattr(__import__('time'), 'timezone', 1)",
        ),
    ),
    "file descriptors 0 to 2": Shared(
        _descriptors,
        (
            "__import__('os').close(1)",
            "__import__('os').dup2(0, 1)",
            "__import__('os').write(1, b'leak')",
            "__import__('os').set_inheritable(1, False)",
            "__import__('os').set_blocking(0, False)",
            "__import__('os').fdopen(1, 'w').write('leak')",
            "__import__('posix').closerange(0, 3)",
            "open(2, 'w').write('leak')",
            "__import__('io').FileIO(1, 'w').write(b'leak')",
            "__import__('_io').TextIOWrapper(__import__('_io').FileIO(1, 'w')).write('leak')",
            "__import__('sys').stdout.close()",
            "__import__('sys').__stdout__.detach()",
            "__import__('sys').stdout.buffer.raw.close()",
        ),
    ),
    "environment, written": Shared(
        _c_environment,
        (
            "__import__('os').environ.__setitem__('LEAK', '1')",
            "__import__('os').putenv('LEAK', '1')",
            "__import__('os').unsetenv('SHOAL_TEST_SECRET')",
            "__import__('os').environ.clear()",
            "__import__('posix').putenv(b'LEAK', b'1')",
            "__import__('posix').unsetenv(b'SHOAL_TEST_SECRET')",
            "__import__('posix').environ.__setitem__(b'LEAK', b'1')",
        ),
    ),
}  # fmt: skip
TRYING = """
import sys
from shoal_task import emit
def on_event(event):
    for way in {ways!r}:
        try: eval(way)
        except (ImportError, AttributeError, PermissionError, TypeError, OSError, KeyError) as error:
            emit("out", repr(error).encode())
"""


@pytest.mark.parametrize("name", SHARED)
async def test_process_wide(
    pool: InterpreterPool, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET, "hunter2")
    shared = SHARED[name]
    before = shared.look()
    result = await pool.run(make_spec(TRYING.format(ways=shared.ways)), make_event())
    assert (result.outcome, result.message) == ("ok", "")
    assert shared.look() == before
    await pool.retire(pool.vms()[0].spec.key)  # nor when the interpreter ends
    assert shared.look() == before


READING = """
import os, posix, sys, locale
from shoal_task import emit
def on_event(event):
    found = [dict(os.environ), posix.environ, os.getenv("{secret}"), sys.argv, sys.orig_argv, sys.executable,
             sys.flags, sys.path, sys.warnoptions, sys._xoptions]
    for way in ("os.environb", "os.get_exec_path()", "posix.confstr('CS_PATH')", "os.getcwd()", "os.getlogin()",
                "open('/proc/self/environ').read()", "os.listdir('/proc/self')", "sys.modules['os'].environ",
                "sys.modules['posix']._have_functions", "os.path.expanduser('~')", "os.path.expandvars('${secret}')"):
        try: found.append(eval(way))
        except Exception as error: found.append(repr(error))
    emit("out", repr(found).encode())
"""


async def test_environment_read(pool: InterpreterPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A VM's environment is empty and its own, however it is asked for."""
    monkeypatch.setenv(SECRET, "hunter2")
    result = await pool.run(make_spec(READING.format(secret=SECRET)), make_event())
    assert (result.outcome, result.message) == ("ok", "")
    said = result.emits[0].payload.decode()
    assert said.startswith("[{}, {}, None, [], [], '',")
    for told in ("hunter2", os.environ["PATH"], str(Path.home()), sys.executable):
        assert told not in said.replace(f"${{{SECRET}}}", "")


def _agents_environment(folder: Path) -> Path:
    """A venv like an agent's, whose site-packages has code that `site` runs, and a module; gives its Python."""
    import venv

    venv.create(folder, symlinks=True, with_pip=False)
    [packages] = (folder / "lib").glob("python3*/site-packages")
    ran = folder / "ran"
    (packages / "count.pth").write_text(f"import os; open({str(ran)!r}, 'a').write('x')\n")
    (packages / "path.pth").write_text("extra\n")
    (packages / "extra").mkdir()
    (packages / "extra" / "leaky_extra.py").write_text(f"open({str(ran)!r}, 'a').write('e')\n")
    (packages / "leaky.py").write_text(f"open({str(ran)!r}, 'a').write('l')\n")
    (packages / "usercustomize.py").write_text(f"open({str(ran)!r}, 'a').write('u')\n")
    ours = next(path for path in sys.path if path.endswith("site-packages"))
    (packages / "zz_agent.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    return folder / "bin" / "python"


@pytest.mark.slow
def test_pth_files_and_site_packages(tmp_path: Path) -> None:
    """Real ones: a venv in which the agent runs. Its own start runs them; a VM does not, and imports nothing there."""
    python = _agents_environment(tmp_path / "agent")
    ran = tmp_path / "agent" / "ran"
    subprocess.run([python, "-c", "import leaky, leaky_extra"], check=True)
    alone = ran.read_text()
    assert set(alone) == {"x", "l", "e"}
    ran.unlink()
    done = run_vm_script(
        """
        source = '''
        import sys
        def on_event(event):
            print(sys.path, sys.prefix == sys.base_prefix, 'site' in sys.modules)
            for name in ("leaky", "leaky_extra", "site", "usercustomize", "numpy", "pytest"):
                try: __import__(name)
                except ImportError as error: print(name, type(error).__name__)
                else: print(name, "was imported")
        '''
        import leaky, leaky_extra
        async def main():
            pool = InterpreterPool()
            for number in range(3):
                result = await pool.run(make_spec(source, key=str(number)), make_event())
                assert result.outcome == "ok", result
            print(*result.logs[1:], sep="\\n")
            print(result.logs[0].startswith("[] "), result.logs[0].endswith("False"))
            await pool.close()
        asyncio.run(main())
        """,
        python=str(python),
    )
    names = ("leaky", "leaky_extra", "site", "usercustomize", "numpy", "pytest")
    want = "".join(f"{name} ModuleNotFoundError\n" for name in names) + "True True\n"
    assert (done.stdout, done.returncode) == (want, 0), done.stderr[-3000:]
    assert ran.read_text() == alone  # nothing but the agent's own start and imports


def test_this_page_names_every_row() -> None:
    page = (ROOT / "docs/reference/vm-isolation.md").read_text()
    section = page.split("## Process-wide things that are closed\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ")]
    assert rows[1:] == [*SHARED, "environment, read", ".pth files and site-packages"]
