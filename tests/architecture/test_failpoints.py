"""A failpoint stands at every durable step."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.failpoint_kills import IN_PROCESS, KILLED_IN

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for package in ("cloud", "device_agent")
    for path in (ROOT / package).rglob("*.py")
    if "node_modules" not in path.parts
)
# What makes something durable: a name that appears at once, an object that is put, a transaction that ends.
RENAMES = frozenset({"rename", "replace", "renames"})
PUTS = frozenset({"put_async"})
TRANSACTIONS = frozenset({"COMMIT"})
CONNECTIONS = frozenset({"connection", "conn", "engine"})
# Holds a transaction open for its caller; who uses it has the failpoint of `Database.begin`.
EXEMPT = frozenset({"cloud/store/database.py:_transaction"})


def functions(path: Path) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path.relative_to(ROOT)}:{node.name}", node


def is_durable(call: ast.Call) -> bool:
    if not isinstance(call.func, ast.Attribute):
        return False
    name = call.func.attr
    if name in RENAMES:
        module = call.func.value.id if isinstance(call.func.value, ast.Name) else ""
        # str.replace and dataclasses.replace take more, Path.replace and Path.rename just the new name.
        return module == "os" or (len(call.args) == 1 and not call.keywords)
    if name in PUTS:
        return True
    if name == "begin":
        # `database.begin()` passes the failpoint of Database.begin; SQLAlchemy's own does not.
        return ast.unparse(call.func.value).rpartition(".")[2] in CONNECTIONS
    return name == "execute" and any(
        isinstance(one, ast.Constant) and one.value in TRANSACTIONS for one in call.args
    )


def has_failpoint(node: ast.AST) -> bool:
    return any(
        isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id == "failpoint"
        for one in ast.walk(node)
    )


def bare_steps() -> list[str]:
    """Functions that make something durable and pass no failpoint."""
    found = []
    for path in SOURCES:
        for place, node in functions(path):
            calls = [one for one in ast.walk(node) if isinstance(one, ast.Call)]
            durable = [one for one in calls if is_durable(one)]
            if durable and not has_failpoint(node) and place not in EXEMPT:
                found.append(f"{place} ({ast.unparse(durable[0])})")
    return found


@pytest.mark.slow
def test_every_durable_step_has_a_failpoint() -> None:
    assert bare_steps() == []


def names_in_code() -> list[str]:
    return [
        str(one.args[0].value)
        for path in SOURCES
        for one in ast.walk(ast.parse(path.read_text()))
        if isinstance(one, ast.Call)
        and isinstance(one.func, ast.Name)
        and one.func.id == "failpoint"
        and isinstance(one.args[0], ast.Constant)
    ]


def test_something_dies_at_every_failpoint() -> None:
    killed = [name for names in KILLED_IN.values() for name in names]
    assert sorted([*killed, *IN_PROCESS]) == sorted(names_in_code())
    commands = (ROOT / "tests/e2e/test_command_kills.py").read_text()
    assert [name for name in KILLED_IN["commands"] if name not in commands] == []
    servers = (ROOT / "tests/e2e/test_server_kills.py").read_text()
    assert [name for name in KILLED_IN["redis"] if name not in servers] == []
    assert [
        name for name, file in IN_PROCESS.items() if name not in (ROOT / file).read_text()
    ] == []


@pytest.mark.parametrize(
    ("code", "durable"),
    [
        ("working.replace(path)", True),
        ("one.part.rename(one.destination)", True),
        ("os.rename(a, b)", True),
        ("connection.execute('COMMIT')", True),
        ("store.put_async(name, data)", True),
        ("connection.begin()", True),
        ("self._database.begin()", False),
        ("text.replace('a', 'b')", False),
        ("replace(row, wanted=None)", False),
        ("connection.execute('SELECT 1')", False),
    ],
)
def test_what_counts_as_a_durable_step(code: str, durable: bool) -> None:
    (call,) = [one for one in ast.walk(ast.parse(code)) if isinstance(one, ast.Call)]
    assert is_durable(call) is durable
