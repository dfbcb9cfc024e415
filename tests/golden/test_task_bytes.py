"""Bytes of tasks and of the control plane that outlive a release: they may not change by accident."""

import json
from pathlib import Path

from cloud.store.audit import FIRST_HASH, hash_row
from cloud.store.backup_file import BackupHeader
from device_agent.tasks.bundle import bundle_digest
from device_agent.tasks.manifest import Manifest, parse_manifest
from device_agent.tasks.names import Namespace, new_release_id, sha256_digest, target_path

TASK = Path(__file__).parent / "task"


def test_a_manifest_gives_the_bytes_that_devices_hold() -> None:
    golden = (TASK / "manifest.json").read_bytes().rstrip(b"\n")
    manifest = parse_manifest((TASK / "task.toml").read_text())
    assert manifest.to_json() == golden
    assert Manifest.from_json(golden) == manifest


def test_a_bundle_keeps_its_digest() -> None:
    digest = bundle_digest(
        parse_manifest((TASK / "task.toml").read_text()),
        {"main.py": sha256_digest(b"main")},
        {"models/digits.shoalmodel": sha256_digest(b"model")},
    )
    assert digest == "sha256:13c713a342a43a5bf3cec30904e57080454943418ff2ac9787371713b7913bab"


def test_ids_and_paths_keep_their_form() -> None:
    assert new_release_id(1_763_900_000_000, bytes(range(10))) == "r01kara41r0000g40r40m30e209"
    path = target_path(Namespace("demo", "digits-app"), "digits", 3, sha256_digest(b""))
    assert path == (
        "demo/digits-app/digits/3/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def test_an_audit_row_keeps_its_hash() -> None:
    row = {
        "namespace": "demo/digits-app",
        "at_ms": 1,
        "actor": "token:ci",
        "action": "release.start",
        "object": "digits/3",
        "detail": {"share": 0.4, "name": "é"},
    }
    assert (
        hash_row(FIRST_HASH, row)
        == "4f8ff6c2251b75245e48377be9f3d315cfcc6903333214bf69cbb90ec02d81c6"
    )


def test_a_backup_of_the_first_form_is_read() -> None:
    line = '{"shoal_backup":1,"schema":"0001","made_at_ms":5,"sequences":{"bus_log":7}}'
    header = BackupHeader(schema="0001", made_at_ms=5, sequences={"bus_log": 7})
    assert BackupHeader.from_line(json.loads(line)) == header
    assert header.to_line() == json.loads(line)
