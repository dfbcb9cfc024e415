"""`shoal cloud serve` as a real process on an empty home, and the `shoal` command against it."""

import asyncio
import json
import os
import stat
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cloud.admin.cli.main import run
from cloud.fleet.local import LocalCloud, command_of

pytestmark = pytest.mark.slow
NAMESPACE = "demo/app"


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[LocalCloud]:
    made = LocalCloud(tmp_path / "cloud", namespace=NAMESPACE)
    try:
        await made.process.start()
        yield made
    finally:
        await made.process.stop()


@pytest.fixture
def shell(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> "Shell":
    monkeypatch.setenv("SHOAL_ADDRESS", cloud.addresses.rest)
    monkeypatch.setenv("SHOAL_TOKEN", cloud.admin_token)
    monkeypatch.setenv("SHOAL_NAMESPACE", NAMESPACE)
    return Shell(capsys)


class Shell:
    """Runs `shoal` commands in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        self._capsys.readouterr()
        code = await asyncio.to_thread(run, arguments)
        said = self._capsys.readouterr()
        return code, said.out, said.err

    async def json(self, *arguments: str) -> Any:
        """What a command that must succeed answers."""
        code, out, err = await self.run(*arguments, "-o", "json")
        assert code == 0, err
        envelope = json.loads(out)
        assert (envelope["status"], envelope["exit_code"]) == ("ok", 0)
        return envelope["data"]


async def http_status(url: str) -> int:
    def get() -> int:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)

    return await asyncio.to_thread(get)


async def test_a_task_goes_from_a_template_to_a_release(
    cloud: LocalCloud, shell: Shell, tmp_path: Path
) -> None:
    task, keys = tmp_path / "hello", str(cloud.publishing_keys)
    assert (await shell.run("task", "init", str(task)))[0] == 0
    published = await shell.json("task", "publish", str(task), "--keys", keys)
    assert (published["version"], published["state"]) == (1, "published")
    _, out, _ = await shell.run("task", "publish", str(task), "--keys", keys)
    assert "already published" in out
    made = await shell.json("release", "create", "hello", "1", "--stages", "40%,100%", "--start")
    paused = await shell.json("release", "pause", made["id"], "--reason", "look")
    assert paused["state"] == "paused"
    resumed = await shell.json("release", "resume", made["id"])
    assert (resumed["state"], resumed["revision"]) == ("running", paused["revision"] + 1)
    listed = await shell.json("release", "list")
    assert [row["id"] for row in listed["items"]] == [made["id"]]
    assert (await shell.json("audit", "verify"))["intact"]


async def test_what_is_wrong_is_told_with_its_code_and_nothing_is_written(
    cloud: LocalCloud, shell: Shell, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "task.toml").write_text("[task]\nname = 'Not A Name'\n")
    (broken / "main.py").write_text("")
    onnx = tmp_path / "broken.onnx"
    onnx.write_bytes(b"this is no model")
    before = await shell.json("audit", "verify")
    keys = str(cloud.publishing_keys)
    cases: list[tuple[tuple[str, ...], int, str]] = [
        (("task", "publish", str(broken), "--keys", keys), 1, "MANIFEST_INVALID"),
        (("task", "publish", str(tmp_path / "none"), "--keys", keys), 1, "SOURCE_UNREADABLE"),
        (("model", "compile", str(onnx), str(tmp_path / "out.shoalmodel")), 1, "MODEL_INVALID"),
        (("release", "create", "nobody", "1"), 1, "VERSION_NOT_PUBLISHED"),
        (("release", "create", "hello", "one"), 2, "USAGE"),
        (("release", "create", "hello", "1", "--stages", "140%"), 2, "USAGE"),
        (("release", "show", "nonsense"), 2, "NAME_INVALID"),
        (("release", "list", "--address", "http://127.0.0.1:9"), 2, "SERVER_UNREACHABLE"),
        (("release", "list", "--namespace", "Nonsense"), 2, "NAME_INVALID"),
        (("no-such-command",), 2, "USAGE"),
    ]
    for arguments, code, said in cases:
        found, _, err = await shell.run(*arguments)
        assert said in err, (arguments, err)
        assert found == code, (arguments, err)
    assert not (tmp_path / "out.shoalmodel").exists()
    assert await shell.json("audit", "verify") == before


async def test_a_wrong_token_is_exit_code_2(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOAL_TOKEN", "shoal_wrong")
    code, _, err = await shell.run("task", "list")
    assert (code, "UNAUTHENTICATED" in err) == (2, True)


async def test_it_stops_in_order_and_starts_again_as_it_was(cloud: LocalCloud) -> None:
    token, first_pid = cloud.admin_token, cloud.process.pid
    assert stat.S_IMODE(os.stat(cloud.home / "admin.token").st_mode) == 0o600
    assert await http_status(f"{cloud.addresses.rest}/readyz") == 200
    assert await cloud.process.stop() == 0
    assert not (cloud.home / "addresses.json").exists()
    await cloud.process.start()
    assert cloud.process.pid != first_pid
    assert cloud.admin_token == token
    assert await http_status(f"{cloud.addresses.rest}/healthz") == 200


async def test_a_killed_cloud_starts_again_and_a_second_one_is_refused(cloud: LocalCloud) -> None:
    await cloud.process.kill()
    assert (cloud.home / "addresses.json").exists(), "nobody was there to remove it"
    await cloud.process.start()
    second = await asyncio.create_subprocess_exec(
        command_of("shoal"),
        *("cloud", "serve", "--home", str(cloud.home)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, err = await second.communicate()
    assert second.returncode == 1
    assert b"CLOUD_HOME_IN_USE" in err
    assert await http_status(f"{cloud.addresses.rest}/readyz") == 200
