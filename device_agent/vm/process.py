"""What a process with VMs does at its start and at its end.

Rules of this module:

- `install` comes first in main(), before any other thread: it changes CPython's allocators (rule K4).
- Python is never finalised with a live VM (rule K5): `drain_and_exit` is how such a process ends,
  `drain_and_restart` how it begins anew. Whoever forgets is caught at exit.
- While VMs live, fork is refused; subprocess and multiprocessing's spawn are fine.
"""

import atexit
import logging
import os
import sys
from typing import NoReturn

from device_agent.engine import _core
from device_agent.vm import _host, stdlib
from device_agent.vm.errors import VmNotInstalled
from device_agent.vm.settings import DRAIN_MS, EXIT_DRAIN_FAILED, EXIT_RESTART, KILL_GRACE_MS

_ALLOCATORS = ("default", "pymalloc", "malloc")


def install() -> None:
    """Makes this process able to hold VMs; calling it again does nothing."""
    if _host.installed():
        return
    _refuse_allocators_without_sizes()
    _host.install(KILL_GRACE_MS)
    stdlib.preload()
    _host.set_engine(_core.work_for)
    _host.freeze(stdlib.frozen_rows())
    rows = [(row.name, row.kind, row.package, row.body) for row in stdlib.table()]
    _host.set_modules(rows, stdlib.glue_code())
    atexit.register(_end_vms)


def _refuse_allocators_without_sizes() -> None:
    """Memory limits ask malloc how big a block is (rule K4): under these allocators it could not know.

    Raises:
        VmNotInstalled: PYTHONMALLOC or development mode chose one of them.
    """
    chosen = os.environ.get("PYTHONMALLOC") or ("debug" if sys.flags.dev_mode else "default")
    if chosen not in _ALLOCATORS:
        raise VmNotInstalled(
            f"CPython's '{chosen}' allocator hides what a task's memory limit counts; start this process without "
            "-X dev, PYTHONDEVMODE and PYTHONMALLOC, or with PYTHONMALLOC=malloc"
        )


def drain_and_exit(status: int, *, timeout_ms: int = DRAIN_MS) -> NoReturn:
    """Kills and ends every VM within `timeout_ms`, flushes, and leaves without finalising Python."""
    _host.drain(timeout_ms)
    _leave(status)


def drain_and_restart(*, timeout_ms: int = DRAIN_MS) -> NoReturn:
    """Ends as drain_and_exit does, and begins the same program anew with its arguments, streams and process id.

    What is left behind, threads in calls that do not come back and memory, is gone with the old program. Where the
    system refuses, the process ends with EXIT_RESTART.
    """
    _host.drain(timeout_ms)
    _flush()
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    except OSError as error:
        sys.stderr.write(f"shoal: this program could not begin anew ({error}); start it again\n")
        _leave(EXIT_RESTART)


def _end_vms() -> None:
    """At exit: the interpreter may be finalised only when no VM is left."""
    if _host.drain(DRAIN_MS) == 0:
        return
    sys.stderr.write("shoal: a VM would not end; leaving without finalising Python\n")
    _leave(EXIT_DRAIN_FAILED)


def _leave(status: int) -> NoReturn:
    _flush()
    os._exit(status)


def _flush() -> None:
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
