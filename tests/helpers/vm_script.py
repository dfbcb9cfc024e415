"""Runs a script that makes VMs in a process of its own, so that a crash is a result and not the end of the tests."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
_HEAD = """
import asyncio, os, sys, time
from device_agent.vm import _host, process
process.install()
from device_agent.vm.interface import VmLimits
from device_agent.vm.pool import InterpreterPool
from device_agent.vm.settings import VmSettings
from tests.helpers.tasks_in_vm import make_event, make_spec
"""


def run_vm_script(
    body: str,
    *,
    timeout_s: float = 60,
    environment: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> "subprocess.CompletedProcess[str]":
    """Runs `body` after the usual imports and `install()`; what it prints and its exit status are the result."""
    return subprocess.run(
        [python, "-X", "faulthandler", "-c", _HEAD + textwrap.dedent(body)],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
