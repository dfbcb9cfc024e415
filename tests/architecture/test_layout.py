"""What a machine can see of the rules: names of folders, and packages whose import has no effects."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DRAWERS = {"utils", "util", "common", "misc", "helpers", "shared"}


def test_no_drawer_folders_or_modules() -> None:
    found = [
        path
        for top in ("cloud", "device_agent")
        for path in (ROOT / top).rglob("*")
        if path.stem in DRAWERS and "node_modules" not in path.parts
    ]
    assert not found, f"name the thing for what it is: {found}"


def test_every_package_has_a_docstring_and_only_that() -> None:
    for init in [
        *(ROOT / "cloud").rglob("__init__.py"),
        *(ROOT / "device_agent").rglob("__init__.py"),
    ]:
        if "shoal_task" in init.parts or "node_modules" in init.parts:
            continue  # the guest API is a face: its __init__ names what a task may use
        lines = [line for line in init.read_text().splitlines() if line.strip()]
        assert lines, f"{init.relative_to(ROOT)} is empty: say what the package is"
        assert lines[0].startswith('"""'), f"{init.relative_to(ROOT)} must start with a docstring"
        assert lines[-1].endswith('"""'), f"{init.relative_to(ROOT)} holds more than a docstring"
