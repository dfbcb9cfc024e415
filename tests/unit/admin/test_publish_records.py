"""What a publication leaves behind: who, when, from which commit; and whom its `requires` keeps it from."""

import base64
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from shoal.device.v1 import device_pb2

from cloud.rpc.peer import DevicePeer
from cloud.store.audit import read_audit
from device_agent.tasks.enrol import EnrolmentCode
from tests.helpers.admin_cloud import MAIN, NAMESPACE, TASK_TOML
from tests.helpers.device_identity import certificate_request
from tests.helpers.release_sets import facts, request
from tests.helpers.trust_site import TrustSite, open_trust_site

pytestmark = pytest.mark.slow


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[TrustSite]:
    async with open_trust_site(tmp_path, monkeypatch) as made:
        await made.cloud.parts.gateway.follower.look()
        yield made


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    folder.mkdir()
    write(folder, "first")
    return folder


def write(folder: Path, text: str, requires: str = "") -> None:
    toml = TASK_TOML.replace("{name}", "hello")
    (folder / "task.toml").write_text(f"{toml}\n[requires]\n{requires}\n" if requires else toml)
    (folder / "main.py").write_text(MAIN.replace("{text}", text))


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


async def version(site: TrustSite, number: int) -> dict[str, Any]:
    answer = await site.cloud.get(f"/tasks/hello/versions/{number}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("form", ["sha1", "sha256"])
async def test_commit_person_and_time_are_recorded(
    site: TrustSite, tree: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tree, "init", "-q", f"--object-format={form}")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "first")
    commit, before_ms = git(tree, "rev-parse", "HEAD"), site.now_ms
    assert await site.shoal("task", "publish", str(tree)) == 0
    first = await version(site, 1)
    assert (first["source_commit"], first["created_by"]) == (commit, "owner")
    assert before_ms <= first["created_at_ms"] <= first["published_at_ms"] <= site.now_ms

    write(tree, "second")  # not committed: said
    monkeypatch.setenv("SHOAL_TOKEN", await site.cloud.token(["task:read", "task:write"]))
    assert await site.shoal("task", "publish", str(tree)) == 0
    second = await version(site, 2)
    assert (second["source_commit"], second["created_by"]) == (f"{commit}+dirty", "somebody")
    async with site.cloud.parts.database.read() as connection:
        rows = await read_audit(connection, NAMESPACE, limit=50)
    told = [
        (row.action, row.actor, row.detail.get("version")) for row in rows if row.object == "hello"
    ]
    assert told == [
        ("task.prepare", "owner", 1),
        ("task.publish", "owner", 1),
        ("task.prepare", "somebody", 2),
        ("task.publish", "somebody", 2),
    ]


async def test_a_folder_that_is_no_working_tree_records_no_commit(
    site: TrustSite, tree: Path
) -> None:
    assert await site.shoal("task", "publish", str(tree)) == 0
    assert (await version(site, 1))["source_commit"] == ""


async def test_who_prepares_and_who_publishes_are_told_apart(site: TrustSite, tree: Path) -> None:
    names = ("task.toml", "main.py")
    files = {name: base64.b64encode((tree / name).read_bytes()).decode() for name in names}
    prepared = (await site.cloud.post("/tasks:prepare", {"files": files})).json()
    other = await site.cloud.token(["task:write"])
    path = "/tasks/hello/versions/1:publish"
    roles = site.cloud.sign(prepared)
    assert (await site.cloud.post(path, {"roles": roles}, token=other)).status_code == 200
    (task,) = (await site.cloud.get("/tasks")).json()["items"]
    assert (task["created_by"], task["published_by"]) == ("owner", "somebody")


LACKS = [
    ('agent = ">=99"', "agent 0.1.0 is not >=99"),
    ("guest_api = 999", "guest API"),
    ("op_set = 999", "op set"),
    ('cpu_features = ["not-there"]', "CPU features not-there are missing"),
]


@pytest.mark.parametrize(("requires", "says"), LACKS)
async def test_a_device_that_lacks_something_is_sent_nothing_and_told_why(
    site: TrustSite, tree: Path, requires: str, says: str
) -> None:
    parts = site.cloud.parts
    code = EnrolmentCode.parse(await parts.enrolment.create_token(NAMESPACE, {}, "owner"))
    csr = certificate_request(ec.generate_private_key(ec.SECP256R1()))
    device = (await parts.enrolment.enrol(NAMESPACE, code.token, csr, {})).certificate.device_id
    write(tree, "needs more", requires)
    assert await site.shoal("task", "publish", str(tree)) == 0
    write(tree, "needs nothing")
    assert await site.shoal("task", "publish", str(tree)) == 0

    assert await release(site, 1) == 201
    assert await documents(site, device) == []
    await parts.gateway.gateway.presence.flush()
    why = (await site.cloud.get(f"/devices/{device}/why?task=hello")).json()
    assert says in json.dumps(why)
    assert await release(site, 2) == 201
    assert await documents(site, device) == [("hello", 2)], "what it can run, it gets"


async def release(site: TrustSite, number: int) -> int:
    answer = await site.cloud.post("/releases", {"task": "hello", "version": number, "start": True})
    await site.cloud.parts.gateway.follower.look()
    return answer.status_code


async def documents(site: TrustSite, device: str) -> list[tuple[str, int]]:
    """What the device is told to install."""
    said = request(0, [], facts()).SerializeToString()
    answer = await site.cloud.parts.gateway.gateway.sync(DevicePeer(device, NAMESPACE), said)
    envelope = device_pb2.SyncResponse.FromString(answer).director
    if not envelope:
        return []
    document = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
    return [
        (one["task"], one["version"]) for one in document["tasks"] if one["action"] == "install"
    ]
