"""The guest API outside a VM, as an author's unit tests use it."""

import inspect
from pathlib import Path
from types import ModuleType

import pytest
import shoal_task
from shoal_task import (
    Event,
    clock,
    config,
    emit,
    image,
    kv,
    log,
    model,
    signal,
    table,
    tensor,
    testing,
    train,
    upload,
)
from shoal_task.border import resource_path

INNER = {"split", "names"}  # of tests and consumers
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


@pytest.mark.parametrize(
    "module", [clock, config, image, kv, model, signal, table, tensor, train, upload]
)
def test_all_that_it_offers_is_documented(module: ModuleType) -> None:
    page = (Path(__file__).parents[3] / "docs/reference/guest.md").read_text()
    offered = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and name[0] != "_"
    ]
    short = module.__name__.removeprefix("shoal_task.")
    missing = [
        name
        for name in offered
        if f"`{name}`" not in page and f"{short}.{name}(" not in page and name not in INNER
    ]
    assert not missing, f"say in docs/reference/guest.md what {short}.{missing} do"
