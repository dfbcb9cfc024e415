"""The command line `shoal-agent`.

Rules of this module:

- A command that fails prints one line on stderr, "CODE: what to do next", and exits with the number that
  docs/reference/exit-codes.md names; nothing is half-written.
- `run` prepares the process for interpreters before anything else is imported that could start a thread, and ends
  by drain_and_exit: a process with live VMs is never finalised (rule K5). One that VMs have worn out begins anew.
"""

import argparse
import asyncio
import errno
import json
import os
import sqlite3
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

from device_agent import failpoint
from device_agent.errors import ShoalError

OK = 0
BAD_INPUT = 2
NOT_READY = 3
UNREACHABLE = 4
REFUSED = 5
INTERNAL = 70
EXIT_CODES = {
    "INVALID_ARGUMENT": BAD_INPUT,
    "NOT_FOUND": BAD_INPUT,
    "FAILED_PRECONDITION": NOT_READY,
    "UNAVAILABLE": UNREACHABLE,
    "DEADLINE_EXCEEDED": UNREACHABLE,
    "RESOURCE_EXHAUSTED": UNREACHABLE,
    "UNAUTHENTICATED": REFUSED,
    "PERMISSION_DENIED": REFUSED,
}
# What a disk says that is full, or may not be written.
NO_ROOM = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM}
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        failpoint.arm_from_environment(os.environ)
        code: int = options.command(options)
    except ShoalError as error:
        print(f"{error.code}: {error}", file=sys.stderr)  # noqa: T201  # a command line speaks on its streams
        return EXIT_CODES.get(error.status, INTERNAL)
    except (OSError, ValueError) as error:
        print(f"{error}; correct the command and try again", file=sys.stderr)  # noqa: T201  # as above
        return BAD_INPUT
    return code


def parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    top = argparse.ArgumentParser(
        prog="shoal-agent", description="Runs released tasks on this device."
    )
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    enrol = _command(commands, "enrol", _enrol, "give this device its identity")
    enrol.add_argument("--code", required=True, help="enrolment code; - reads it from stdin")
    new = "as another device: for one of two that share a certificate"
    enrol.add_argument("--new-key", action="store_true", help=new)
    run = _command(commands, "run", _run, "run until SIGTERM")
    levels = ["DEBUG", "INFO", "WARNING", "ERROR"]
    run.add_argument("--log-level", default="INFO", choices=levels, help="what is logged")
    run.add_argument(
        "--vm",
        default="interpreter",
        choices=["interpreter", "process"],
        help="what a task's VM is; process is slower to start and holds more, and no task can harm the agent's process",
    )
    status = _command(commands, "status", _status, "show what lies in the home folder")
    status.add_argument("-o", "--output", default="table", choices=["table", "json"], help="form")
    out = _command(commands, "opt-out", _opt_out, "refuse a task on this device")
    out.add_argument("task", help="name of the task")
    out.add_argument("--undo", action="store_true", help="take the refusal back")
    feed = _command(commands, "feed", _feed, "feed one event to the running agent")
    feed.add_argument("--event-id", type=int, required=True, help="what happened")
    feed.add_argument("--page-id", type=int, default=0, help="page on which it happened")
    feed.add_argument("--uid", help="32 hex digits; the same uid twice is one event")
    feed.add_argument("--payload", type=Path, help="file with the payload; - is stdin")
    record = _command(commands, "record", _record, "record what apps feed to the running agent")
    record.add_argument("--out", type=Path, required=True, help="file to write, *.shoalevents")
    record.add_argument("--events", type=int, default=1_000, help="how many; ends the recording")
    record.add_argument("--seconds", type=float, default=3_600.0, help="how long at most")
    return top


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=text, description=text)
    made.add_argument("--home", type=Path, required=True, help="the agent's home folder")
    made.set_defaults(command=run)
    return made


def _enrol(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from device_agent.agent.config import load_config
    from device_agent.agent.facts import gather_facts
    from device_agent.agent.home import locked
    from device_agent.agent.process import IDENTITY
    from device_agent.tasks.enrol import enrol, enrol_anew
    from device_agent.tasks.fetch import HttpFetcher

    code = sys.stdin.readline().strip() if options.code == "-" else options.code
    facts = asdict(gather_facts(load_config(options.home)))
    with locked(options.home):
        how = enrol_anew if options.new_key else enrol
        identity = how(HttpFetcher, code, options.home / IDENTITY, facts)
    _say({"device": identity.device_id, "namespace": identity.namespace}, "json")
    return OK


def _run(options: argparse.Namespace) -> int:
    from device_agent.vm import process as vm_process

    vm_process.install()  # before anything that may start a thread
    try:
        worn = _serve(options)
    except Exception as error:  # whatever ends a process with VMs, it ends by drain_and_exit
        vm_process.drain_and_exit(_told(error, options.home))
    if worn:
        vm_process.drain_and_restart()
    vm_process.drain_and_exit(OK)


def _told(error: BaseException, home: Path) -> int:
    """Says what ended the agent, by its name where it has one; gives the exit code."""
    from device_agent.agent.core import DATABASE
    from device_agent.agent.errors import StoreFailed
    from device_agent.agent.store.database import named_error

    first = error
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    if isinstance(first, sqlite3.Error):
        first = named_error(first, home / DATABASE)
    elif isinstance(first, OSError) and first.errno in NO_ROOM:
        first = StoreFailed(f"{first}; make room on the disk and let the agent write in {home}")
    if not isinstance(first, ShoalError):
        traceback.print_exception(error)
        return INTERNAL
    print(f"{first.code}: {first}", file=sys.stderr)  # noqa: T201  # as above
    return EXIT_CODES.get(first.status, INTERNAL)


def _serve(options: argparse.Namespace) -> str:
    """Runs the agent; why the process is to begin anew, or nothing."""
    from device_agent.agent.config import load_config
    from device_agent.agent.home import locked
    from device_agent.agent.process import COSTS, AgentProcess
    from device_agent.agent.process_observer import configure_logs
    from device_agent.agent.tracing import configure_tracing
    from device_agent.vm.pool import InterpreterPool, ProcessPool
    from device_agent.vm.settings import VmSettings

    configure_logs(options.log_level)
    config = load_config(options.home)

    async def serve() -> str:
        settings = VmSettings(runs_parallel_max=config.settings.runs_parallel_max)
        kind = ProcessPool if options.vm == "process" else InterpreterPool
        pool = kind(settings, costs=options.home / COSTS)
        return await AgentProcess(options.home, config, pool).run()

    with locked(options.home), configure_tracing(config.tracing_endpoint):
        return asyncio.run(serve())


def _status(options: argparse.Namespace) -> int:
    from device_agent.agent.home import read_status
    from device_agent.agent.process import load_identity

    identity = load_identity(options.home)
    status = read_status(options.home)
    shown: dict[str, Any] = {"device": identity.device_id, "namespace": identity.namespace}
    if status is not None:
        agent = status.agent
        shown |= {
            "running": status.running,
            "epoch": agent.epoch,
            "kill_all": agent.kill_all,
            "events_open": agent.events_open,
            "reports_open": agent.reports_open,
            "document_expires_at_ms": agent.expires_at_ms,
            "clock_offset_ms": agent.clock_offset_ms,
            "tasks": [
                {
                    "task": row.task,
                    "version": row.version,
                    "wanted": row.wanted.version if row.wanted is not None else None,
                    "told": row.told,
                    "quarantined": row.quarantined,
                    "killed": row.task in status.killed,
                    "opted_out": row.task in status.opted_out,
                }
                for row in status.tasks
            ],
        }
    _say(shown, options.output)
    return OK


def _opt_out(options: argparse.Namespace) -> int:
    from device_agent.agent.core import DATABASE
    from device_agent.agent.process import load_identity
    from device_agent.agent.settings import AgentSettings
    from device_agent.agent.store.store import Store
    from device_agent.tasks.names import check_task_name

    load_identity(options.home)
    task = check_task_name(options.task)
    random: Random = SystemRandom()
    store = Store(options.home / DATABASE, random=random, settings=AgentSettings())
    try:
        with store.transaction():
            store.held.put_opted_out(task, not options.undo)
    finally:
        store.close()
    return OK


def _feed(options: argparse.Namespace) -> int:
    from shoal_task.event import Event

    from device_agent.agent.home import SOCKET
    from device_agent.events.feeder import FeederClient

    uid = bytes.fromhex(options.uid) if options.uid else os.urandom(16)
    event = Event(options.event_id, _payload(options.payload), uid=uid, page_id=options.page_id)
    with FeederClient(options.home / SOCKET) as feeder:
        (answer,) = feeder.feed([event])
    _say({"uid": uid.hex(), "status": str(answer.status), "code": answer.code}, "json")
    return OK if not answer.code else REFUSED


def _record(options: argparse.Namespace) -> int:
    from device_agent.agent.process import load_identity
    from device_agent.agent.recording import record

    load_identity(options.home)
    found = record(options.home, options.out, events=options.events, seconds=options.seconds)
    _say({"events": found, "out": str(options.out)}, "json")
    return OK


def _payload(path: Path | None) -> bytes:
    if path is None:
        return b""
    return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()


def _say(shown: dict[str, Any], form: str) -> None:
    if form == "json":
        print(json.dumps(shown))  # noqa: T201  # as above
        return
    tasks = shown.pop("tasks", [])
    for name, value in shown.items():
        print(f"{name:24} {value}")  # noqa: T201  # as above
    for row in tasks:
        print("  ".join(f"{name}={value}" for name, value in row.items()))  # noqa: T201  # as above


if __name__ == "__main__":
    sys.exit(main())
