"""Prints the longest files and functions, so that a reviewer looks at them; nothing here fails a build for length."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def sources() -> list[Path]:
    return [
        path
        for top in ("cloud", "device_agent")
        for path in sorted((ROOT / top).rglob("*.py"))
        if "node_modules" not in path.parts
    ]


def test_longest_files_and_functions_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    files: list[tuple[int, str]] = []
    functions: list[tuple[int, str]] = []
    for path in sources():
        text = path.read_text()
        name = str(path.relative_to(ROOT))
        files.append((text.count("\n"), name))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                functions.append((length, f"{name}:{node.name}"))
    assert files
    with capsys.disabled():
        print("\nlongest files:", sorted(files, reverse=True)[:5])
        print("longest functions:", sorted(functions, reverse=True)[:5])
