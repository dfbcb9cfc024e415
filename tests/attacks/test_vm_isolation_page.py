"""docs/reference/vm-isolation.md claims what tests/attacks tries, and admits what the fuzzer leaves out."""

import ast
import re
from pathlib import Path

from tests.attacks.test_vm_escapes import CLOSED
from tests.attacks.test_vm_exhaustion import ENDED, LEFT_BEHIND
from tests.soak.fuzz import LEFT_OUT

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/vm-isolation.md").read_text()


def section(heading: str) -> str:
    return PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]


def names(heading: str) -> list[str]:
    rows = [line for line in section(heading).splitlines() if line.startswith("| ")]
    return [row.split("|")[1].strip() for row in rows[1:]]


def test_escapes_that_are_claimed_are_the_escapes_that_are_tried() -> None:
    assert sorted(names("Escapes that are stopped")) == sorted(CLOSED)


def test_leaks_that_are_claimed_are_the_leaks_that_are_tried() -> None:
    module = ast.parse((ROOT / "tests/unit/vm/test_vm_isolation.py").read_text())
    (tried,) = [
        [key.value for key in node.value.keys if isinstance(key, ast.Constant)]
        for node in module.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
    ]
    assert names("Leaks between VMs that are stopped") == tried


def test_exhaustion_that_is_claimed_is_the_exhaustion_that_is_tried() -> None:
    tried = {one.name for one in ENDED}
    assert set(names("Exhaustion that is stopped")) == tried - set(CLOSED)
    assert names("Left behind: one call that does not come back") == [
        one.name for one in LEFT_BEHIND
    ]


def test_what_the_fuzzer_leaves_out_is_not_claimed() -> None:
    admitted = set(re.findall(r"`([\w.]+)`", section("Not claimed")))
    assert {name for name in LEFT_OUT if name != "gc.set_debug"} <= admitted


def test_security_md_links_the_page() -> None:
    assert "docs/reference/vm-isolation.md" in (ROOT / "SECURITY.md").read_text()
