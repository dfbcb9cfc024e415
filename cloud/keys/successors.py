"""A key's successor: made beside it, named by new metadata, and only then put in its place.

Rules of this module:

- The successor is on disk before anything names it: a rotation that broke off goes on with the same key.
- Taking its place is one rename; the key before it is kept under another name, because keys are never thrown away here.
- Nothing here decides which of the two counts: published metadata does.
"""

import os
from collections.abc import Collection
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.keys.director import keyid_of
from cloud.keys.files import encode_signing_key, load_signing_key, sync_folder, write_new
from device_agent.failpoint import failpoint


class KeyFile:
    """One Ed25519 key file, and its successor's."""

    def __init__(self, path: Path, passphrase: str | None = None) -> None:
        self.path = path
        self.next_path = path.with_name(f"{path.stem}-next{path.suffix}")
        self._passphrase = passphrase

    def current(self) -> Ed25519PrivateKey:
        """The key in use. Raises KeysMissing, KeysUnreadable."""
        return load_signing_key(self.path, self._passphrase)

    def successor(self) -> Ed25519PrivateKey | None:
        """The key that was made to follow it; None when there is none. Raises KeysUnreadable."""
        if not self.next_path.exists():
            return None
        return load_signing_key(self.next_path, self._passphrase)

    def prepare(self) -> Ed25519PrivateKey:
        """The successor, made now when there is none."""
        known = self.successor()
        if known is not None:
            return known
        made = Ed25519PrivateKey.generate()
        write_new(self.next_path, encode_signing_key(made, self._passphrase))
        sync_folder(self.path.parent)
        failpoint("keys.successor.written")
        return made

    def adopt(self) -> None:
        """Puts the successor in the key's place; harmless when that was done."""
        if not self.next_path.exists():
            return
        if self.path.exists():
            keyid = keyid_of(self.current().public_key())
            retired = self.path.with_name(f"{self.path.stem}.retired-{keyid[:16]}.pem")
            if not retired.exists():
                os.link(self.path, retired)
        failpoint("keys.successor.retired")
        self.next_path.replace(self.path)
        sync_folder(self.path.parent)

    def settle(self, named: Collection[str]) -> Ed25519PrivateKey:
        """The key to use where published metadata names these: a successor among them takes its place now."""
        successor = self.successor()
        if successor is not None and keyid_of(successor.public_key()) in named:
            self.adopt()
            return successor
        return self.current()
