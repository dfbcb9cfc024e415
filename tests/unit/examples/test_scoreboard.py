"""The demo's scoreboard: nothing is counted that was not heard, and nothing twice."""

from io import StringIO

from rich.console import Console

from docs.examples.digits.demo.scoreboard import Scoreboard, digit_of, uid_of
from docs.examples.digits.demo.view import State, Summary, render, render_summary
from docs.examples.digits.measure import Share, collaborative, device_only, never_left
from docs.examples.digits.v1 import wire


def answer(uid: bytes, label: int, source: int = wire.FROM_DEVICE) -> bytes:
    return wire.encode_answer(uid, label, source, 0.9)


def test_a_uid_names_round_device_and_digit() -> None:
    uids = {uid_of(r, d, n) for r in range(2) for d in range(3) for n in range(5)}
    assert len(uids) == 30
    assert digit_of(uid_of(1, 2, 77)) == 77


def test_an_escalated_digit_counts_for_the_version_that_read_it() -> None:
    board = Scoreboard(labels=[5])
    uid = uid_of(1, 0, 0)
    board.fed.add(uid)
    board.hear_escalation(wire.encode_escalation(uid, 3, 0.4, bytes(64)), 1)
    assert board.waiting == 1
    board.hear_answer(answer(uid, 5, wire.FROM_CLOUD), 2)
    [reading] = board.readings(1)
    assert (reading.truth, reading.device, reading.cloud) == (5, 3, 5)
    assert board.readings(2) == []
    assert (board.escalated, board.lost, board.repeated) == (1, 0, 0)


def test_repeated_and_strange_answers_are_counted() -> None:
    board = Scoreboard(labels=[5, 6])
    fed, strange = uid_of(1, 0, 0), uid_of(1, 0, 1)
    board.fed.add(fed)
    board.hear_answer(answer(fed, 5), 1)
    board.hear_answer(answer(fed, 5), 1)
    board.hear_answer(answer(strange, 6), 1)
    assert board.repeated == 2


def test_shares_are_computed_from_what_was_heard() -> None:
    board = Scoreboard(labels=[0, 1, 2, 3])
    for digit, label in enumerate([0, 1, 9, 3]):
        board.hear_answer(answer(uid_of(1, 0, digit), label), 1)
    readings = board.readings()
    assert device_only(readings).hits == collaborative(readings).hits == 3
    assert never_left(readings).value == 1.0


def test_views_draw_an_empty_and_a_full_state() -> None:

    board = Scoreboard(labels=[0])
    uid = uid_of(1, 0, 0)
    board.fed.add(uid)
    board.hear_answer(answer(uid, 0), 1)
    out = StringIO()
    console = Console(file=out, width=120)
    console.print(render(State(), board))
    summary = Summary(
        coverage={1: [(0.5, 1)]},
        install_ms={1: (400.0, 500.0)},
        runs=[{"version": 1, "outcome": "ok", "runs": 1}],
        cloud_only=Share(hits=1, total=1),
        seconds=1.0,
        console="http://127.0.0.1:1/console/",
    )
    console.print(render_summary(summary, board))
    assert "1 fed, 0 lost, 0 repeated" in out.getvalue()
