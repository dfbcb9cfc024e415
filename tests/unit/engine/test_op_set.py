"""The op set is said twice, in Python and in C++: the two must be the same; and each operator has a lowering."""

import subprocess
import sys

import pytest

from device_agent.engine import _core, ops
from device_agent.engine.check import attribute_kinds
from device_agent.engine.ops import ATOMS, BY_NAME, OPS, OpClass
from device_agent.engine.plan import lowerings
from device_agent.engine.plan.context import LOWERINGS
from device_agent.engine.plan.fold import FOLDS


def test_both_tables_of_atoms_are_the_same() -> None:
    here = {
        (
            row.id,
            row.name,
            row.inputs_min,
            row.inputs_max,
            row.outputs,
            row.attributes,
            row.since,
        )
        for row in ATOMS
    }
    assert here == set(_core.op_table())
    assert _core.OP_SET == ops.OP_SET


def test_names_are_given_once() -> None:
    assert len(BY_NAME) == len(OPS)
    assert len({row.name for row in ATOMS}) == len({row.id for row in ATOMS}) == len(ATOMS)


def test_every_operator_but_control_has_a_lowering() -> None:
    assert lowerings.FAMILIES
    control = {row.name for row in OPS if row.kind is OpClass.CONTROL}
    assert set(LOWERINGS) == set(BY_NAME) - control


def test_attributes_are_of_known_kinds_and_defaults_of_theirs() -> None:
    known = {"int", "float", "text", "ints", "floats", "texts", "graph"}
    for row in OPS:
        assert set(attribute_kinds(row).values()) <= known, row.name


def test_what_is_folded_is_an_atom_or_the_raster() -> None:
    assert set(FOLDS) <= {row.name for row in ATOMS} | {"raster"}


@pytest.mark.slow  # mypy reads the whole module
def test_the_stub_says_what_the_module_has() -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "device_agent.engine._core"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
