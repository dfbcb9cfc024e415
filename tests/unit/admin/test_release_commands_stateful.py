"""Releases over REST against a model of the state machine: any commands in any order, on the real cloud."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.helpers.admin_cloud import AdminCloud, bundle, open_cloud

pytestmark = pytest.mark.slow
# What each state takes, and where it leads; "promote" leads to "completed" from the last stage.
MOVES = {
    "draft": {"start": "running", "abort": "aborted"},
    "running": {
        "pause": "paused",
        "promote": "running",
        "abort": "aborted",
        "roll_back": "rolled_back",
    },
    "paused": {"resume": "running", "abort": "aborted", "roll_back": "rolled_back"},
    "completed": {"roll_back": "rolled_back"},
    "aborted": {"roll_back": "rolled_back"},
    "rolled_back": {},
}
COMMANDS = sorted({command for moves in MOVES.values() for command in moves})
NO_VERSION = 9


@dataclass
class Model:
    """What a release should be."""

    id: str
    stages: int
    state: str = "draft"
    stage_index: int = -1
    revision: int = 1
    steps: list[str] = field(default_factory=lambda: ["created"])

    def take(self, command: str) -> None:
        if command == "start" or (command == "promote" and self.stage_index + 1 < self.stages):
            self.stage_index += 1
            self.state = "running"
        elif command == "promote":
            self.state = "completed"
        else:
            self.state = MOVES[self.state][command]
        self.revision += 1
        self.steps.append(command)


class Releases(RuleBasedStateMachine):
    """Operators at work on one cloud."""

    releases = Bundle("releases")
    cloud: AdminCloud
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.models: list[Model] = []
        self.epoch = self._epoch()

    def call[T](self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def _epoch(self) -> int:
        return int(self.call(self.cloud.get("/overview")).json()["epoch"])

    @rule(target=releases, stages=st.integers(1, 3), start=st.booleans())
    def create(self, stages: int, start: bool) -> Model:
        shares = [{"share_ppm": 1_000_000 * (n + 1) // stages} for n in range(stages)]
        # Each for a ring of its own: none takes another's place.
        targeting = {"attributes": {"ring": f"{id(self)}-{len(self.models)}"}}
        body = {
            "task": "hello",
            "version": 2,
            "stages": shares,
            "targeting": targeting,
            "start": start,
        }
        answer = self.call(self.cloud.post("/releases", body))
        assert answer.status_code == 201, answer.text
        model = Model(id=answer.json()["id"], stages=stages)
        if start:
            model.take("start")
        self.models.append(model)
        self._same(model, answer)
        return model

    @rule(
        model=releases,
        command=st.sampled_from(COMMANDS),
        seen=st.sampled_from(["", "now", "before", "later"]),
        back_to=st.sampled_from([None, 0, 1, NO_VERSION]),
    )
    def command(self, model: Model, command: str, seen: str, back_to: int | None) -> None:
        revision = {
            "now": model.revision,
            "before": model.revision - 1,
            "later": model.revision + 1,
        }
        headers = {"If-Match": f'"{max(1, revision[seen])}"'} if seen else {}
        stale = bool(seen) and max(1, revision[seen]) != model.revision
        body: dict[str, Any] = {"command": command, "reason": "because"}
        if command == "roll_back" and back_to is not None:
            body["rollback_version"] = back_to
        answer = self.call(self.cloud.post(f"/releases/{model.id}:command", body, headers=headers))
        faults = {
            "REVISION_CONFLICT": stale,
            "COMMAND_NOT_ALLOWED": command not in MOVES[model.state],
            "VERSION_NOT_PUBLISHED": body.get("rollback_version") == NO_VERSION,
        }
        if any(faults.values()):
            code = answer.json()["error"]["code"]
            assert faults[code], (code, command, model)
            assert answer.status_code == (412 if code == "REVISION_CONFLICT" else 409)
            return
        model.take(command)
        self._same(model, answer)
        if "rollback_version" in body:
            assert answer.json()["rollback_version"] == back_to

    def _same(self, model: Model, answer: Any) -> None:
        assert answer.status_code in (200, 201), (model, answer.text)
        shown = answer.json()
        found = (shown["state"], shown["stage_index"], shown["revision"])
        assert found == (model.state, model.stage_index, model.revision)
        assert answer.headers["etag"] == f'"{model.revision}"'

    @invariant()
    def the_cloud_says_what_the_model_says(self) -> None:
        for model in self.models[-3:]:
            self._same(model, self.call(self.cloud.get(f"/releases/{model.id}")))
        before, self.epoch = self.epoch, self._epoch()
        assert self.epoch >= before

    def teardown(self) -> None:
        for model in self.models:
            history = self.call(self.cloud.get(f"/releases/{model.id}/events")).json()["items"]
            told = [row["event"].get("command", row["event"]["type"]) for row in history]
            assert told == model.steps
            assert [row["revision"] for row in history] == list(range(1, model.revision + 1))
        assert self.call(self.cloud.get("/audit:verify")).json()["intact"]


async def test_any_commands_in_any_order_do_what_the_model_says(tmp_path: Path) -> None:
    async with open_cloud(tmp_path) as cloud:
        for text in ("one", "two"):
            await cloud.publish(bundle(text=text))

        class Here(Releases):
            pass

        Here.cloud, Here.loop = cloud, asyncio.get_running_loop()
        chosen = settings(
            max_examples=5,
            stateful_step_count=10,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        with structlog.testing.capture_logs():
            await asyncio.to_thread(run_state_machine_as_test, Here, settings=chosen)
