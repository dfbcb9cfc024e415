"""The guest API outside a VM, as an author's unit tests use it."""

import pytest
import shoal_task
from shoal_task import Event, emit, log, tensor, testing
from shoal_task.border import resource_path

EVENT = Event(7, b"abc", uid=bytes(16))


def _entry(event: Event) -> None:
    log(f"event {event.event_id}")
    emit("answer", event.payload)


def test_run_collects_emits_and_logs() -> None:
    done = testing.run(_entry, EVENT, topics={"answer"})
    assert done.emits == [("answer", b"abc")]
    assert done.logs == ["event 7"]


def test_an_unpermitted_topic_is_refused_as_in_a_vm() -> None:
    with pytest.raises(PermissionError, match="topic 'answer' is not permitted"):
        testing.run(_entry, EVENT, topics=set())


def test_runs_do_not_mix() -> None:
    first = testing.run(_entry, EVENT)
    second = testing.run(_entry, EVENT)
    assert first.emits == second.emits == [("answer", b"abc")]


def test_resources_are_found_by_their_path_in_the_bundle() -> None:
    with testing.collecting(resources={"a.shoalmodel": "/somewhere/a"}):
        assert resource_path("a.shoalmodel") == "/somewhere/a"
        with pytest.raises(FileNotFoundError, match=r"\[\[resources\]\]"):
            resource_path("b.shoalmodel")


def test_log_takes_text_only() -> None:
    with testing.collecting(), pytest.raises(TypeError, match="log takes a str"):
        log(b"bytes")  # type: ignore[arg-type]  # what an author may do by mistake


def test_everything_it_names_is_there() -> None:
    for name in shoal_task.__all__:
        assert getattr(shoal_task, name) is not None
    for name in tensor.__all__:
        assert getattr(tensor, name) is not None
