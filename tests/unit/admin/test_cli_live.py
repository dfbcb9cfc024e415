"""The command line against a cloud that listens: what operators type, right and wrong, and how it ends."""

import asyncio
import json
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
import yaml

from cloud.admin.cli.main import run
from tests.helpers.admin_cloud import NAMESPACE
from tests.helpers.console_cloud import ConsoleCloud, open_listening

pytestmark = pytest.mark.slow


class Shell:
    """Runs commands in this process, as the owner, on a cloud."""

    def __init__(self, cloud: ConsoleCloud, printed: pytest.CaptureFixture[str]) -> None:
        self.cloud = cloud
        self._printed = printed
        self.err = ""

    async def __call__(self, line: str) -> tuple[int, str]:
        """Exit code and standard output; standard error is kept in `err`."""
        self._printed.readouterr()
        code = await asyncio.to_thread(run, shlex.split(line))
        printed = self._printed.readouterr()
        self.err = printed.err
        return code, printed.out


@pytest.fixture
async def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> AsyncIterator[Shell]:
    async with open_listening(tmp_path) as cloud:
        monkeypatch.setenv("SHOAL_ADDRESS", cloud.url)
        monkeypatch.setenv("SHOAL_NAMESPACE", NAMESPACE)
        monkeypatch.setenv("SHOAL_TOKEN", cloud.api.owner)
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
        with (
            structlog.testing.capture_logs()
        ):  # the cloud's, which would stand between the command's lines
            yield Shell(cloud, capsys)


async def test_every_list_is_there_in_every_format(shell: Shell) -> None:
    second = await shell.cloud.past()
    lists = [
        "task list", "task show hello", "release list", f"release history {second['id']}",
        f"release devices {second['id']}", "device list", "device notices", "device token list", "kill list",
        "token list", "audit list",
    ]  # fmt: skip
    for line in lists:
        code, table = await shell(line)
        assert code == 0, (line, shell.err)
        _, as_json = await shell(f"{line} -o json")
        _, as_yaml = await shell(f"{line} -o yaml")
        assert json.loads(as_json) == yaml.safe_load(as_yaml), line
        rows = json.loads(as_json)["data"]["items"]
        assert len(table.splitlines()) == len(rows) + 1, line


async def test_what_devices_hold_is_in_their_list(shell: Shell) -> None:
    await shell.cloud.past()
    _, table = await shell("device list")
    assert "hello v2 installed" in table
    device = shell.cloud.devices[0]
    _, shown = await shell(f"device show {device}")
    assert "installed: hello v" in shown
    assert "enrolled: 20" in shown
    _, chosen = await shell(f"device list --prefix {device[:6]} -o json")
    assert [row["id"] for row in json.loads(chosen)["data"]["items"]] == [device]
    _, offline = await shell("device list --status offline -o json")
    assert {row["status"] for row in json.loads(offline)["data"]["items"]} == {"offline"}


WRONG = [
    ("device forget ?x", 2, "not a device id"),
    ("device forget a/../b", 2, "is not a name"),
    ("device forget ''", 2, "is not a name"),
    ("device show x", 2, "32 lower-case hex"),
    (f"device show {'0' * 32}", 1, "shoal device list"),
    ("device list --status asleep", 2, "online"),
    ("device notices --limit 0", 2, "at least 1"),
    ("device token create --attribute region", 2, "key=value"),
    ("device token create --valid-for 0", 2, "valid_for_s"),
    ("task show ../releases", 2, "is not a name"),
    ("task show nobody", 1, "shoal task list"),
    ("task diff hello 1 1", 2, "two versions"),
    ("release create hello 9", 1, "shoal task show"),
    ("release create hello 1 --stages 50,40", 1, "stage 2"),
    ("release create hello 1 --target region", 2, "--target key=value"),
    ("release pause {release} --if-revision 1", 1, "revision"),
    ("release start {release}", 1, "it takes"),
    ("release wait {release} --timeout -1", 2, "--timeout"),
    ("release wait {release} --timeout nan", 2, "--timeout"),
    ("release wait {release} --for state=done", 2, "completed"),
    ("release wait {release} --for installed=9 --timeout 0", 3, "did not hold"),
    ("kill set nosuch --reason x", 1, "shoal task list"),
    ("kill clear nosuch", 1, "shoal task list"),
    ("token create bob --scope everything", 2, "release:write"),
    ("token create bob --scope '*' --valid-for 99999999999", 2, "valid_for_s"),
    ("token revoke x", 2, "16 hex"),
    ("audit list --limit 0", 2, "at least 1"),
    ("task list -n other/app --token-file {none}", 2, "token file"),
    ("task list -n Bad", 2, "app/project"),
    ("task list --address ftp://x", 2, "http://"),
    ("task list --address http://127.0.0.1:9", 2, "shoal cloud serve"),
]


async def test_what_is_wrong_is_told_ends_with_its_code_and_changes_nothing(shell: Shell) -> None:
    await shell.cloud.api.publish()
    body = {"task": "hello", "version": 1, "start": True}
    release = (await shell.cloud.api.post("/releases", body)).json()["id"]
    before = (await shell.cloud.api.get("/audit:verify")).json()
    for line, code, says in WRONG:
        ended, printed = await shell(line.format(release=release, none="/nonexistent"))
        assert (ended, printed) == (code, ""), (line, shell.err)
        assert says in shell.err, (line, shell.err)
        assert "Traceback" not in shell.err, line
    assert (await shell.cloud.api.get("/audit:verify")).json() == before


@pytest.mark.parametrize(
    ("scopes", "code"), [(["task:read"], "SCOPE_MISSING"), ([], "UNAUTHENTICATED")]
)
async def test_a_token_that_may_not_ends_with_two(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, scopes: list[str], code: str
) -> None:
    token = await shell.cloud.api.token(scopes) if scopes else "shoal_unknown"
    monkeypatch.setenv("SHOAL_TOKEN", token)
    ended, printed = await shell("device list -o json")
    envelope = json.loads(printed)
    assert (ended, envelope["exit_code"], envelope["error"]["code"]) == (2, 2, code)
    assert envelope["error"]["hint"]


async def test_a_wait_ends_at_once_when_the_release_ended_otherwise(shell: Shell) -> None:
    await shell.cloud.api.publish()
    body = {"task": "hello", "version": 1, "start": True}
    release = (await shell.cloud.api.post("/releases", body)).json()["id"]
    waiting = asyncio.create_task(asyncio.to_thread(run, ["release", "wait", release]))
    watching = asyncio.create_task(
        asyncio.to_thread(run, ["release", "show", release, "--watch", "-o", "yaml"])
    )
    await shell.cloud.command(release, "pause", "look")
    await shell.cloud.command(release, "abort", "no good")
    async with asyncio.timeout(20):
        assert await waiting == 1
        assert await watching == 0
    code, _ = await shell(f"release wait {release} --for state=aborted")
    assert code == 0
    _, told = await shell(f"release history {release}")
    assert "abort (no good)" in told
