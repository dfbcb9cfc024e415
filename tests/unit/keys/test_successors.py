"""A key's successor under deaths at every step: the key that is named is always there, and no key is ever lost."""

import shutil
import tempfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cloud.keys.director import keyid_of
from cloud.keys.errors import KeysMissing, KeysUnreadable
from cloud.keys.files import encode_signing_key, load_signing_key, write_new
from cloud.keys.successors import KeyFile
from device_agent import failpoint

deaths = st.sampled_from(["", "keys.successor.written", "keys.successor.retired"])


class DeathError(Exception):
    """The process ended here."""


def die_at(place: str) -> None:
    def act(name: str) -> None:
        if name == place:
            raise DeathError

    failpoint.arm(act if place else None)


class RotationWalk(RuleBasedStateMachine):
    """Prepares, publishes and settles in any order, dying wherever it may."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.file = KeyFile(self.folder / "online.pem")
        first = Ed25519PrivateKey.generate()
        write_new(self.file.path, encode_signing_key(first, None))
        self.named = keyid_of(first.public_key())
        self.ever = {self.named}

    @rule(death=deaths)
    def prepare(self, death: str) -> None:
        known = self.file.successor()
        die_at(death)
        try:
            made = self.file.prepare()
        except DeathError:
            return
        finally:
            failpoint.arm(None)
        if known is not None:
            assert keyid_of(made.public_key()) == keyid_of(known.public_key())

    @rule()
    def publish(self) -> None:
        """Metadata names the successor; the file knows nothing of it yet."""
        successor = self.file.successor()
        if successor is not None:
            self.named = keyid_of(successor.public_key())
            self.ever.add(self.named)

    @rule(death=deaths)
    def settle(self, death: str) -> None:
        die_at(death)
        try:
            used = KeyFile(self.file.path).settle({self.named})
        except DeathError:
            return
        finally:
            failpoint.arm(None)
        assert keyid_of(used.public_key()) == self.named

    @invariant()
    def nothing_is_lost(self) -> None:
        held = {keyid_of(load_signing_key(path).public_key()) for path in self.folder.glob("*.pem")}
        assert self.ever <= held
        assert {path.stat().st_mode & 0o777 for path in self.folder.glob("*.pem")} == {0o600}

    def teardown(self) -> None:
        failpoint.arm(None)
        shutil.rmtree(self.folder)


TestRotationWalk = RotationWalk.TestCase
TestRotationWalk.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestRotationWalk = pytest.mark.slow(TestRotationWalk)


def test_a_passphrase_goes_over_to_the_successor(tmp_path: Path) -> None:
    file = KeyFile(tmp_path / "targets.pem", "a passphrase")
    with pytest.raises(KeysMissing):
        file.current()
    made = file.prepare()
    with pytest.raises(KeysUnreadable):
        KeyFile(tmp_path / "targets.pem").successor()
    file.adopt()
    file.adopt()
    assert keyid_of(file.current().public_key()) == keyid_of(made.public_key())
    assert [path.name for path in tmp_path.iterdir()] == ["targets.pem"]
