"""The op set is said twice, in Python and in C++: the two must be the same."""

import subprocess
import sys

import pytest

from device_agent.engine import _core, ops, settings


def test_both_tables_are_the_same() -> None:
    here = {
        (
            row.id.value,
            row.id.name.lower(),
            row.inputs_min,
            row.inputs_max,
            row.attributes,
            row.since,
        )
        for row in ops.OPS
    }
    assert here == set(_core.op_table())
    assert _core.OP_SET == ops.OP_SET


def test_every_operator_has_a_row() -> None:
    assert set(ops.BY_ID) == set(ops.OpId)
    assert max(row.inputs_max for row in ops.OPS) == settings.LIMITS.operator_inputs_max


@pytest.mark.slow  # mypy reads the whole module
def test_the_stub_says_what_the_module_has() -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "device_agent.engine._core"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
