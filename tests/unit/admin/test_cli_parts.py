"""The command line without a cloud: parsing, context, output and exit codes."""

import json
from pathlib import Path

import pytest
import yaml

from cloud.admin.cli.context import find_context
from cloud.admin.cli.errors import (
    FileFailed,
    ServerAway,
    ServerFailed,
    UsageWrong,
    WaitHopeless,
    WaitTimeout,
)
from cloud.admin.cli.main import asked_format, run
from cloud.admin.cli.output import Format, exit_code, field, show_rows
from cloud.admin.cli.pairs import parse_pairs
from cloud.admin.cli.releases import ENDED, STATES, parse_condition, parse_stages
from cloud.admin.cli.template import write_template
from cloud.registry.errors import TaskUnknown
from cloud.registry.upload import check_upload, read_source
from cloud.rollout.machine import ALLOWED, Command, ReleaseState
from device_agent.errors import ShoalError
from device_agent.tasks.errors import NameInvalid


def test_stages_are_shares_and_promotions() -> None:
    assert parse_stages("40%,100") == [
        {"share_ppm": 400_000, "promote_at_ppm": 0},
        {"share_ppm": 1_000_000, "promote_at_ppm": 0},
    ]
    assert parse_stages("0.5%@95%") == [{"share_ppm": 5_000, "promote_at_ppm": 950_000}]


@pytest.mark.parametrize("text", ["", "half", "-1", "101%", "nan", "5%@"])
def test_a_wrong_share_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageWrong, match="per cent"):
        parse_stages(text)


def test_targets_are_pairs() -> None:
    assert parse_pairs(["region=eu", "model=a=b"], "--target") == {"region": "eu", "model": "a=b"}
    for wrong in (["region"], ["=eu"], ["region=eu", "region=us"]):
        with pytest.raises(UsageWrong, match="--target"):
            parse_pairs(wrong, "--target")


def test_the_states_are_those_of_the_machine() -> None:
    assert set(STATES) == {state.value for state in ReleaseState}
    assert {state.value for state, takes in ALLOWED.items() if not takes} <= set(ENDED)
    assert {state.value for state in ALLOWED if Command.PAUSE in ALLOWED[state]}.isdisjoint(ENDED)


def test_conditions_look_at_state_or_coverage() -> None:
    release = {"state": "running", "coverage": {"targeted": 3, "installed": 2}}
    assert parse_condition("state=running")(release)
    assert parse_condition("installed=2")(release)
    assert not parse_condition("installed=all")(release)
    for wrong in ("colour=red", "state=complete", "installed=0", "installed=", "installed=²", ""):
        with pytest.raises(UsageWrong, match="installed=3"):
            parse_condition(wrong)


@pytest.mark.parametrize(
    ("condition", "state", "can"),
    [
        ("state=completed", "paused", True),
        ("state=completed", "aborted", False),
        ("state=rolled_back", "completed", True),
        ("state=running", "superseded", False),
        ("installed=all", "completed", True),
        ("installed=all", "rolled_back", False),
    ],
)
def test_a_wait_is_given_up_when_nothing_can_come_of_it(
    condition: str, state: str, can: bool
) -> None:
    coverage = {"targeted": 3, "installed": 1}
    release = {"state": state, "coverage": coverage}
    assert parse_condition(condition).can_still_hold(release) is can


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageWrong("x"), 2),
        (ServerAway("x"), 2),
        (ServerFailed(401, "TOKEN_INVALID", "x", ""), 2),
        (ServerFailed(403, "SCOPE_MISSING", "x", ""), 2),
        (ServerFailed(409, "RELEASE_STATE", "x", ""), 1),
        (ServerFailed(400, "ARGUMENT_INVALID", "x", ""), 2),
        (NameInvalid("x"), 2),
        (FileFailed("x"), 1),
        (WaitHopeless("x"), 1),
        (WaitTimeout("x"), 3),
        (TaskUnknown("x"), 1),
    ],
)
def test_exit_codes(error: ShoalError, code: int) -> None:
    assert exit_code(error) == code


def test_flags_win_over_environment_over_file(tmp_path: Path) -> None:
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    (tmp_path / "shoal").mkdir()
    (tmp_path / "token").write_text("from-file\n")
    text = f'address = "http://file:1"\nnamespace = "a/b"\ntoken_file = "{tmp_path / "token"}"\n'
    (tmp_path / "shoal" / "config.toml").write_text(text)
    context = find_context(environment=environment)
    assert (context.address, context.token) == ("http://file:1", "from-file")
    assert context.path("/tasks") == "/api/v1/namespaces/a/b/tasks"
    environment |= {"SHOAL_ADDRESS": "http://env:1/", "SHOAL_TOKEN": "from-env"}
    context = find_context(environment=environment)
    assert (context.address, context.token) == ("http://env:1", "from-env")
    assert find_context(address="http://flag:1", environment=environment).address == "http://flag:1"


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "pass --address"),
        ({"SHOAL_ADDRESS": "localhost:1"}, "must start with http"),
    ],
)
def test_a_missing_or_wrong_address_is_named(environment: dict[str, str], says: str) -> None:
    with pytest.raises(UsageWrong, match=says):
        find_context(environment=environment)


def test_a_context_without_namespace_says_how_to_give_one() -> None:
    context = find_context(address="http://a:1", environment={})
    with pytest.raises(UsageWrong, match="SHOAL_NAMESPACE"):
        context.path("/tasks")
    with pytest.raises(NameInvalid):
        find_context(address="http://a:1", namespace="oops", environment={}).path()


@pytest.mark.parametrize(
    "arguments", [["-o", "json"], ["--output=json"], ["x", "--output", "json"]]
)
def test_the_format_is_found_in_wrong_commands_too(arguments: list[str]) -> None:
    assert asked_format(arguments) is Format.JSON
    assert asked_format(["-o", "nonsense"]) is Format.TABLE


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_errors_come_in_the_envelope(
    form: str, read: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_ADDRESS", "http://127.0.0.1:9")
    monkeypatch.setenv("SHOAL_NAMESPACE", "a/b")
    assert run(["release", "list", "-o", form]) == 2
    assert callable(read)
    envelope = read(capsys.readouterr().out)
    assert (envelope["status"], envelope["exit_code"], envelope["data"]) == ("error", 2, None)
    assert envelope["error"]["code"] == "SERVER_UNREACHABLE"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("release create", "TASK is missing; `shoal release create --help`"),
        ("release create t one", "VERSION"),
        ("release create t 1 --bogus", "--bogus; `shoal release create --help`"),
        ("release lst", 'Did you mean "list"?'),
        ("task init", "FOLDER is missing; `shoal task init --help`"),
        ("device revoke x", "--reason is missing"),
        ("task list -o xml", "table"),
        ("nonsense", "`shoal --help`"),
    ],
)
def test_wrong_usage_ends_with_two_and_says_what_is_missing(
    arguments: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments.split()) == 2
    printed = capsys.readouterr()
    assert says in printed.err
    assert printed.out == ""


def test_wrong_usage_comes_in_the_envelope_when_one_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["release", "create", "-o", "json"]) == 2
    envelope = json.loads(capsys.readouterr().out)
    assert (envelope["exit_code"], envelope["error"]["code"]) == (2, "USAGE")


@pytest.mark.parametrize(
    "arguments",
    [
        "task init {}/file/new --name x",
        "keys init {}/file/k -n a/b",
        "cloud backup {}/none/b --home {}/c",
    ],
)
def test_a_file_that_cannot_be_written_is_told_and_nothing_is_left(
    arguments: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    assert run(arguments.replace("{}", str(tmp_path)).split()) == 1
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert str(tmp_path) in said
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("token", ["a\nb", "a b", "tök", "\x7f"])
def test_a_token_that_no_header_carries_is_refused_before_it_is_sent(
    token: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SHOAL_TOKEN", token)
    assert run(["task", "list", "--address", "http://127.0.0.1:9", "-n", "a/b"]) == 2
    said = capsys.readouterr().err
    assert "copy it again" in said
    assert token not in said


@pytest.mark.parametrize(("width", "lines"), [(200, 3), (24, 6)])
def test_rows_are_lines_in_a_pipe_and_blocks_on_a_narrow_terminal(
    width: int, lines: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"id": "r" * 30, "who": "somebody [b]", "why": ""},
        {"id": "s" * 30, "who": "x", "why": "y"},
    ]
    columns = (field("ID", "id"), field("WHO", "who"), field("WHY", "why"))
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    show_rows(rows, columns, Format.TABLE)
    piped = capsys.readouterr().out.splitlines()
    assert len(piped) == 3, "a row is a line, however narrow"
    assert piped[1].split() == ["r" * 30, "somebody", "[b]"]
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    show_rows(rows, columns, Format.TABLE)
    shown = capsys.readouterr().out
    assert "somebody [b]" in shown
    assert len(shown.splitlines()) == lines


def test_no_rows_are_told_beside_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    show_rows([], (field("ID", "id"),), Format.TABLE)
    printed = capsys.readouterr()
    assert (printed.out.split(), printed.err) == (["ID"], "(none)\n")


def test_explain_knows_every_code_and_suggests_near_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["explain", "metadata_expired"]) == 0
    assert "METADATA_EXPIRED" in capsys.readouterr().out
    assert run(["explain", "METADATA"]) == 2
    assert "METADATA_EXPIRED" in capsys.readouterr().err


def test_the_template_is_a_bundle_that_is_taken_and_is_not_overwritten(tmp_path: Path) -> None:
    write_template(tmp_path / "new", "counter")
    checked = check_upload(read_source(tmp_path / "new"))
    assert checked.manifest.name == "counter"
    assert sorted(checked.sources) == ["main.py"]
    with pytest.raises(UsageWrong, match="there already"):
        write_template(tmp_path / "new", "counter")


def test_keys_and_models_work_without_a_cloud(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["keys", "init", str(tmp_path / "keys"), "-n", "a/b"]) == 0
    assert run(["keys", "init", str(tmp_path / "keys"), "-n", "a/b"]) == 1
    assert "KEYS_EXIST" in capsys.readouterr().err
    assert run(["model", "compile", str(tmp_path / "none.onnx")]) == 2
    (tmp_path / "bad.onnx").write_bytes(b"no")
    assert run(["model", "compile", str(tmp_path / "bad.onnx")]) == 1
    assert not (tmp_path / "bad.shoalmodel").exists()
    example = Path(__file__).parents[3] / "docs/examples/digits/models/device_v1.onnx"
    assert run(["model", "compile", str(example), str(tmp_path / "m.shoalmodel")]) == 0
    assert run(["model", "show", str(tmp_path / "m.shoalmodel")]) == 0
