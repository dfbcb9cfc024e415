"""The command line against servers, devices and files that say what they should not: named, and never believed."""

import io
import json
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cloud.admin.cli.client import ClientLimits, RestClient, named
from cloud.admin.cli.context import Context, find_context
from cloud.admin.cli.errors import ServerAway, ServerFailed, UsageWrong
from cloud.admin.cli.main import run
from cloud.admin.cli.output import (
    Format,
    exit_code,
    field,
    pairs_field,
    percent,
    printable,
    show,
    show_error,
    show_rows,
    time_field,
    utc,
)
from cloud.admin.cli.releases import parse_condition, parse_stages
from device_agent.errors import ShoalError
from tests.helpers.odd_server import OddServer, odd_server, said

NASTY = "\x1b[2J\x1b[31mred\x07\r\nforged  row\x9b0m\u202etxt\u2028\t\x00"
LIMITS = ClientLimits(connect_seconds_max=5.0, read_seconds_max=5.0, retries_max=2, pages_max=3)


@pytest.fixture
def answers() -> list[bytes]:
    return [said(b"{}")]


@pytest.fixture
def server(answers: list[bytes]) -> Iterator[OddServer]:
    """Gives its answers in turn, the last one for ever."""

    def answer(request: str) -> bytes:
        del request
        return answers.pop(0) if len(answers) > 1 else answers[0]

    with odd_server(answer) as opened:
        yield opened


def client(server: OddServer) -> RestClient:
    return RestClient(Context(address=server.url, token="t", namespace="demo/app"), LIMITS)


# --- servers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (said(b"<html>"), "ANSWER_INVALID"),
        (said(b"[]"), "ANSWER_INVALID"),
        (said(b"null"), "ANSWER_INVALID"),
        (said(b'"text"'), "ANSWER_INVALID"),
        (said(b"\xff\xfe\xff"), "ANSWER_INVALID"),
        (said(b"[" * 200_000), "ANSWER_INVALID"),
        (said(b'{"a":' * 200_000), "ANSWER_INVALID"),
        (said(b'{"a": ' + b"9" * 5_000 + b"}"), "ANSWER_INVALID"),
        (said(b"", "302 Found", "location: /elsewhere"), "INTERNAL"),
        (said(b"{}", "404 Not Found"), "INTERNAL"),
        (said(b'{"error": "bad gateway"}', "502 Bad Gateway"), "INTERNAL"),
        (said(b'{"error": ["x"]}', "500 Oh"), "INTERNAL"),
        (said(b'{"error": null}', "500 Oh"), "INTERNAL"),
        (said(b'{"error": {"code": 7, "message": null}}', "400 Bad"), "7"),
        (said(b'{"error": {"code": "NOT_READY", "hint": "wait"}}', "503 Later"), "NOT_READY"),
    ],
)
def test_an_answer_that_is_none_of_ours_is_a_named_failure(
    server: OddServer, answers: list[bytes], answer: bytes, code: str
) -> None:
    answers[:] = [answer]
    with client(server) as speaks, pytest.raises(ServerFailed) as caught:
        speaks.get("/api/v1/me")
    assert caught.value.server_code == code
    assert str(caught.value)
    assert exit_code(caught.value) in {1, 2}


def test_what_a_proxy_says_is_passed_on(server: OddServer, answers: list[bytes]) -> None:
    answers[:] = [said(b'{"error": "the upstream is asleep"}', "502 Bad Gateway")]
    with client(server) as speaks, pytest.raises(ServerFailed, match="the upstream is asleep"):
        speaks.get("/api/v1/me")


@pytest.mark.parametrize(
    "page",
    [{}, {"items": []}, {"items": None, "next_page_token": ""}, {"items": {}, "next_page_token": ""},
     {"items": [], "next_page_token": None}, {"next_page_token": ""}],
)  # fmt: skip
def test_a_list_that_is_none_is_a_named_failure(
    server: OddServer, answers: list[bytes], page: object
) -> None:
    answers[:] = [said(json.dumps(page).encode())]
    with client(server) as speaks, pytest.raises(ServerFailed, match="no list") as caught:
        list(speaks.items("/api/v1/x"))
    assert caught.value.server_code == "ANSWER_INVALID"


def test_a_list_without_end_is_left(server: OddServer, answers: list[bytes]) -> None:
    answers[:] = [said(b'{"items": [{}], "next_page_token": "more"}')]
    with client(server) as speaks, pytest.raises(UsageWrong, match="ask for fewer"):
        list(speaks.items("/api/v1/x"))
    assert len(server.seen) == LIMITS.pages_max


@pytest.mark.parametrize(
    "cut",
    [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", b"\x16\x03\x01nonsense\r\n\r\n"],
)
def test_a_server_that_hangs_up_is_asked_again_only_where_that_does_no_harm(
    server: OddServer, answers: list[bytes], cut: bytes
) -> None:
    answers[:] = [cut]
    with client(server) as speaks:
        asks: list[tuple[Callable[[], object], int]] = [
            (lambda: speaks.get("/api/v1/read"), 1 + LIMITS.retries_max),
            (lambda: speaks.post("/api/v1/write", {}), 1),
            (lambda: speaks.post("/api/v1/once", {}, idempotency_key="k"), 1 + LIMITS.retries_max),
            (lambda: speaks.delete("/api/v1/gone"), 1),
        ]
        for ask, times in asks:
            before = len(server.seen)
            with pytest.raises(ServerAway, match="is the cloud running there"):
                ask()
            assert len(server.seen) - before == times


def test_a_read_that_failed_once_is_read(server: OddServer, answers: list[bytes]) -> None:
    answers[:] = [b"", b"", said(b'{"fine": true}')]
    with client(server) as speaks:
        assert speaks.get("/api/v1/read") == {"fine": True}


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "../../x"])
def test_a_name_is_one_part_of_a_path(name: str) -> None:
    with pytest.raises(UsageWrong, match="not a name"):
        named(name)


@given(st.text(min_size=1, max_size=20))
def test_any_other_name_is_quoted_whole(name: str) -> None:
    if name in {".", ".."} or "/" in name or "\ud800" <= name <= "\udfff":
        return
    try:
        quoted = named(name)
    except UnicodeEncodeError:
        return  # no file or terminal gives such a name
    assert quoted.isascii()
    assert not set(quoted) & set("/?#%&= ") - {"%"}


@pytest.mark.parametrize("token", ["a b", "a\nb", "ä", "a\x00", "\x1b[31m"])
def test_a_token_with_odd_signs_is_not_sent(server: OddServer, token: str) -> None:
    context = Context(address=server.url, token=token, namespace="demo/app")
    with RestClient(context, LIMITS) as speaks, pytest.raises(UsageWrong, match="copy it again"):
        speaks.get("/api/v1/me")
    assert server.seen == []


@pytest.mark.parametrize(
    "address", ["http://", "http://:1", "http://[::1", "http://x:99999", "http://" + "a" * 300]
)
def test_an_address_that_leads_nowhere_is_named(address: str) -> None:
    with (
        RestClient(Context(address=address, token="", namespace=""), LIMITS) as speaks,
        pytest.raises(ServerAway),
    ):
        speaks.get("/api/v1/me")


# --- what devices and others said -------------------------------------------------------------------------------

COLUMNS = (
    field("CODE", "code"),
    field("SAID", "message"),
    pairs_field("MORE", "attributes"),
    time_field("AT", "at_ms"),
)


@pytest.mark.slow
@hypothesis_settings(max_examples=60)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "code": st.text(max_size=9),
                "message": st.text(max_size=30) | st.just(NASTY),
                "attributes": st.dictionaries(
                    st.text(max_size=5), st.text(max_size=5) | st.just(NASTY), max_size=2
                ),
                "at_ms": st.integers(-(2**63), 2**63 - 1) | st.none(),
            }
        ),
        max_size=4,
    )
)
def test_a_row_is_a_line_whatever_a_device_said(rows: list[dict[str, object]]) -> None:
    out, before = io.StringIO(), sys.stdout
    sys.stdout = out
    try:
        show_rows(rows, COLUMNS, Format.TABLE)
    finally:
        sys.stdout = before
    lines = out.getvalue().split("\n")
    assert len(lines) == len(rows) + 2
    assert lines[0].split() == ["CODE", "SAID", "MORE", "AT"]
    assert all(char.isprintable() for line in lines for char in line)


@pytest.mark.parametrize("form", list(Format))
def test_what_is_said_moves_no_cursor(capsys: pytest.CaptureFixture[str], form: Format) -> None:
    show({"text": NASTY}, form, f"first\n{NASTY}")
    show_error(ServerFailed(400, NASTY, NASTY, NASTY), form)
    printed = capsys.readouterr()
    for text in (printed.out, printed.err):
        assert "\x1b" not in text
        assert not any(ord(char) < 32 and char not in "\n\t" for char in text)
        assert "\x9b" not in text
    if form is Format.TABLE:
        assert printed.out.startswith("first\n\\x1b[2J")


@given(st.text(max_size=40))
def test_what_can_be_seen_stays_as_it_is(text: str) -> None:
    said = printable(text)
    assert said.isprintable()
    assert said == text or not text.isprintable()
    assert printable(said) == said
    assert printable(text, text) == text


@given(st.integers(-(2**63), 2**63 - 1) | st.integers())
def test_a_time_is_a_date_or_a_number(at_ms: int) -> None:
    said = utc(at_ms)
    if -62_135_596_800_000 <= at_ms < 253_402_300_800_000:
        assert datetime.fromisoformat(f"{said}+00:00") == datetime.fromtimestamp(at_ms // 1000, UTC)
    else:
        assert said == f"{at_ms} ms"


@pytest.mark.parametrize("value", [None, "1", 1.5, [], True])
def test_what_is_no_time_or_share_is_nothing(value: object) -> None:
    assert utc(value) == ("1970-01-01 00:00:00" if value is True else "")
    assert percent(value) == ("0.0001 %" if value is True else "")


# --- what a person writes ---------------------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.integers(0, 1_000_000), st.none() | st.integers(0, 1_000_000)),
        min_size=1,
        max_size=4,
    )
)
def test_stages_come_back(stages: list[tuple[int, int | None]]) -> None:
    text = ",".join(
        f"{share / 10_000:.4f}%" + ("" if goal is None else f"@{goal / 10_000:.4f} %")
        for share, goal in stages
    )
    expected = [{"share_ppm": share, "promote_at_ppm": goal or 0} for share, goal in stages]
    assert parse_stages(text) == expected


@given(st.text(alphabet="0123456789%@,.-einfa ", max_size=12))
def test_any_text_is_stages_or_refused(text: str) -> None:
    try:
        found = parse_stages(text)
    except UsageWrong:
        return
    assert len(found) == text.count(",") + 1
    assert all(0 <= number <= 1_000_000 for one in found for number in one.values())


@pytest.mark.parametrize(
    "text", ["5%@", "5%@,100%", "@5%", "5%@@6%", "", ",", "5%,", "1e400%", "-0.1%"]
)
def test_a_forgotten_number_is_no_stage(text: str) -> None:
    with pytest.raises(UsageWrong, match="per cent"):
        parse_stages(text)


@pytest.mark.parametrize("count", ["9" * 19, "9" * 5_000, "-1", "1.5", "0", "²", "", "all "])
def test_a_count_that_no_fleet_has_is_refused(count: str) -> None:
    with pytest.raises(UsageWrong, match="not a condition"):
        parse_condition(f"installed={count}")


def configuration(folder: Path, content: bytes | None) -> dict[str, str]:
    path = folder / "shoal" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    return {"XDG_CONFIG_HOME": str(folder)}


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"\xff\xfe",
        b"address = ",
        b"address = 7",
        b"namespace = ['a/b']",
        b"x = 1",
        b"address = " + b"9" * 5_000,
        b"x = " + b"[" * 20_000,
    ],
    ids=["folder", "no utf-8", "cut", "number", "list", "unknown", "digits", "deep"],
)
def test_a_configuration_that_is_none_is_named(tmp_path: Path, content: bytes | None) -> None:
    environment = configuration(tmp_path, content)
    with pytest.raises(UsageWrong, match=r"config\.toml"):
        find_context(address="http://x", environment=environment)


@pytest.mark.parametrize("name", ["~nobody-of-that-name/token", "nowhere", "a\x00b", "."])
def test_a_token_file_that_is_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageWrong, match="token file"):
        find_context(address="http://x", token_file=name, environment={})


@pytest.mark.parametrize(
    "line",
    [
        ["release", "create", "digits", "one"],
        ["release", "create", "digits", "1", "--stages", "5%@"],
        ["release", "wait", "r1", "--for", "installed=" + "9" * 5_000],
        ["release", "wait", "r1", "--timeout", "nan"],
        ["audit", "list", "--limit", "0"],
        ["device", "show", "../x"],
        ["task", "diff", "digits", "1", "1"],
    ],
)
def test_a_wrong_command_ends_with_2_and_one_line_that_says_why(
    line: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOAL_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setenv("SHOAL_NAMESPACE", "demo/app")
    assert run(line) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert printed.err.strip()
    assert run([*line, "-o", "json"]) == 2
    envelope = json.loads(capsys.readouterr().out)
    assert (envelope["status"], envelope["exit_code"]) == ("error", 2)
    assert envelope["error"]["message"]


def test_every_error_of_the_command_line_has_an_exit_code() -> None:
    def all_of(kind: type[ShoalError]) -> Iterator[type[ShoalError]]:
        for one in kind.__subclasses__():
            yield one
            yield from all_of(one)

    makes: Callable[[type[ShoalError]], ShoalError] = lambda kind: kind.__new__(kind)  # noqa: E731
    for kind in all_of(ShoalError):
        if kind.__module__ == "cloud.admin.cli.errors" and kind is not ServerFailed:
            assert exit_code(makes(kind)) in {1, 2, 3}
