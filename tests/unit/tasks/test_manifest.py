"""task.toml: what a good one gives, and everything wrong with a bad one at once."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.tasks.errors import ManifestInvalid
from device_agent.tasks.manifest import (
    BOUNDS,
    Limits,
    Manifest,
    Requires,
    Resource,
    Schedule,
    Trigger,
    parse_manifest,
)

WHOLE = """
[task]
name = "digits"
entry = "main:on_event"
summary = "Reads handwritten digits"
fresh = true
[requires]
agent = ">=0.1, <2"
guest_api = 1
op_set = 1
python = "cpython-313"
cpu_features = ["avx2"]
[[triggers]]
event = 1001
[limits]
wall_ms = 500
cpu_ms = 400
engine_mib = 128
[permissions]
emit = ["answer", "escalate"]
[schedule]
priority = "background"
deadline_ms = 2000
[[replies]]
topic = "escalate"
event = 1002
[[resources]]
path = "models/digits.shoalmodel"
scope = "exclusive"
"""
LEAST = '[task]\nname = "a"\nentry = "main:run"\n[[triggers]]\nevent = 1\n'


def problems_of(text: str) -> dict[str, str]:
    with pytest.raises(ManifestInvalid) as caught:
        parse_manifest(text)
    return {problem.field: str(problem) for problem in caught.value.problems}


def test_every_field_is_read() -> None:
    assert parse_manifest(WHOLE) == Manifest(
        name="digits",
        entry="main:on_event",
        summary="Reads handwritten digits",
        fresh=True,
        requires=Requires(
            agent=">=0.1,<2", guest_api=1, op_set=1, python="cpython-313", cpu_features=("avx2",)
        ),
        triggers=(Trigger(event=1001),),
        limits=Limits(wall_ms=500, cpu_ms=400, engine_mib=128),
        schedule=Schedule(priority="background", deadline_ms=2000),
        emit=frozenset({"answer", "escalate"}),
        replies={"escalate": 1002},
        resources=(Resource(path="models/digits.shoalmodel", scope="exclusive"),),
    )
    assert parse_manifest(WHOLE).event_ids == {1001, 1002}


def test_defaults_are_those_of_the_classes() -> None:
    manifest = parse_manifest(LEAST)
    assert manifest.limits == Limits()
    assert manifest.requires == Requires()
    assert manifest.schedule == Schedule()
    assert not manifest.fresh
    assert manifest.resources == ()


@pytest.mark.parametrize("text", [WHOLE, LEAST])
def test_json_round_trips_and_is_canonical(text: str) -> None:
    manifest = parse_manifest(text)
    data = manifest.to_json()
    assert Manifest.from_json(data) == manifest
    assert Manifest.from_json(data).to_json() == data


def test_what_came_later_is_not_written_where_it_is_the_default() -> None:
    """Older manifests keep their digests, and older agents, which refuse unknown keys, read them."""
    text = parse_manifest(LEAST).to_json()
    assert b"schedule" not in text
    assert b"fresh" not in text
    assert b"cpu_ms" not in text
    assert b"engine_mib" not in text


def test_fresh_is_true_or_false() -> None:
    assert "task.fresh" in problems_of(LEAST.replace("[[trig", 'fresh = "yes"\n[[trig'))


def test_json_of_another_format_is_refused() -> None:
    good = parse_manifest(LEAST).to_json()
    for data in (b"", b"[]", b"{}", good[:-1], good.replace(b'"format":1', b'"format":2')):
        with pytest.raises(ManifestInvalid):
            Manifest.from_json(data)


def test_all_problems_are_told_at_once_with_line_and_remedy() -> None:
    told = problems_of(
        "[task]\n"
        'name = "Digits"\n'
        'entry = "main.py"\n'
        "[limits]\n"
        "wall_ms = 0\n"
        "memry_mib = 5\n"
        "[[triggers]]\n"
        "event = -1\n"
        "[[replies]]\n"
        'topic = "escalate"\n'
        "event = 3\n"
        "[[resources]]\n"
        'path = "../secret"\n'
        'scope = "mine"\n'
    )
    assert told["task.name"].startswith("line 2: task.name: 'Digits': a task name starts with")
    assert 'write "module:function"' in told["task.entry"]
    assert "line 5: limits.wall_ms: is 0; give a whole number from 1 to 60000" in told.values()
    assert "line 6: limits.memry_mib: is not known; did you mean memory_mib?" in told.values()
    assert "from 1 to 4294967295" in told["triggers[0].event"]
    assert "add it there" in told["replies[0].topic"]
    assert "plain relative path" in told["resources[0].path"]
    assert "choose shared or exclusive" in told["resources[0].scope"]
    assert len(told) == 8


def test_missing_parts_are_named() -> None:
    told = problems_of("")
    assert told == {
        "task": "task: is missing; add a [task] table",
        "triggers": "triggers: has 0 entries; it must have 1 to 64",
    }
    assert set(problems_of("[task]\n[[triggers]]\n")) == {
        "task.name",
        "task.entry",
        "triggers[0].event",
    }


@pytest.mark.parametrize(
    ("addition", "field"),
    [
        ("[limits]\nwall_ms = true\n", "limits.wall_ms"),
        ('[limits]\nwall_ms = "1"\n', "limits.wall_ms"),
        ('[schedule]\npriority = "urgent"\n', "schedule.priority"),
        ("[schedule]\ndeadline_ms = -1\n", "schedule.deadline_ms"),
        ("[schedule]\nweight = 2\n", "schedule.weight"),
        ("[limits]\nwall_ms = 1.5\n", "limits.wall_ms"),
        ("[limits]\ncpu_ms = -1\n", "limits.cpu_ms"),
        ("[limits]\ncpu_ms = 60001\n", "limits.cpu_ms"),
        ("[limits]\nengine_mib = 0\n", "limits.engine_mib"),
        ("[limits]\nengine_mib = 1025\n", "limits.engine_mib"),
        ('[requires]\nagent = "newest"\n', "requires.agent"),
        ('[requires]\npython = "3.13"\n', "requires.python"),
        ('[requires]\ncpu_features = ["AVX2"]\n', "requires.cpu_features"),
        ('[requires]\ncpu_features = "avx2"\n', "requires.cpu_features"),
        ('[permissions]\nemit = ["a", "a"]\n', "permissions.emit"),
        ('[permissions]\nemit = ["A"]\n', "permissions.emit"),
        ("[permissions]\nemit = [1]\n", "permissions.emit"),
        ("[[triggers]]\nevent = 1\n", "triggers[1].event"),
        ('[[resources]]\npath = "a"\n[[resources]]\npath = "A"\n', "resources[1].path"),
        ("[[resources]]\npath = 1\n", "resources[0].path"),
        ("limits = 1\n", "limits"),
        ("[replies]\ntopic = 1\n", "replies"),
        ("[extra]\n", "extra"),
    ],
)
def test_each_kind_of_mistake_is_named(addition: str, field: str) -> None:
    text = addition + LEAST if addition.startswith("limits =") else LEAST + addition
    assert field in problems_of(text)


def test_what_is_not_toml_or_too_long_is_refused() -> None:
    assert "is not TOML" in problems_of("[task")["manifest"]
    assert "longer than" in problems_of("#" * 70_000)["manifest"]
    assert (
        "one line" in problems_of(LEAST.replace("[[", 'summary = "a\\nb"\n[[', 1))["task.summary"]
    )


@given(st.sampled_from(sorted(BOUNDS)), st.integers(-10, 5_000_000))
def test_limits_hold_exactly_their_bounds(name: str, value: int) -> None:
    low, high = BOUNDS[name]
    text = f"{LEAST}[limits]\n{name} = {value}\n"
    if low <= value <= high:
        assert getattr(parse_manifest(text).limits, name) == value
    else:
        assert f"limits.{name}" in problems_of(text)


@given(st.text(max_size=200))
def test_no_text_makes_another_error(text: str) -> None:
    with contextlib.suppress(ManifestInvalid):
        parse_manifest(text)
