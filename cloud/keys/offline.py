"""The keys of people: the folder of `shoal keys init` as a rotation finds it, wherever its parts were taken to.

Rules of this module:

- Only what a step needs has to be at hand; what is missing is named before anything is made or signed.
- A successor lies beside its key until published metadata names it (successors.py).
"""

import re
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from cloud.keys.errors import KeysMissing
from cloud.keys.files import KeyFolder, load_signer
from cloud.keys.publishing import Publisher
from cloud.keys.successors import KeyFile

_ROOT_FILE = re.compile(r"root-([1-9][0-9]{0,3})(-next)?\.pem")


@dataclass(frozen=True, slots=True)
class OfflineKeys:
    """A folder of keys and its passphrase."""

    folder: KeyFolder
    passphrase: str | None

    @property
    def targets(self) -> KeyFile:
        """The key of the top-level targets role."""
        return KeyFile(self.folder.targets_key, self.passphrase)

    def targets_signer(self) -> CryptoSigner:
        """Signs the top-level targets role. Raises KeysMissing, KeysUnreadable."""
        return load_signer(self.folder.targets_key, self.passphrase)

    def publishing(self, namespace: str) -> KeyFile:
        """The key of a namespace's roles."""
        return KeyFile(self.folder.publishing_key(namespace), self.passphrase)

    def publisher(self, namespace: str) -> Publisher:
        """The holder of that key. Raises KeysMissing, KeysUnreadable."""
        return Publisher.load(self.folder.path, namespace, self.passphrase)

    def root_signers(self, current: bytes) -> list[CryptoSigner]:
        """Those of the current root's keys that are at hand.

        Raises:
            KeysMissing: they are fewer than must sign.
        """
        role = Metadata[Root].from_bytes(current).signed.roles[Root.type]
        found = [
            signer
            for signer in self._root_files().values()
            if signer.public_key.keyid in role.keyids
        ]
        if len({signer.public_key.keyid for signer in found}) < role.threshold:
            raise KeysMissing(
                f"{self.folder.offline} holds {len(found)} of the current root keys, {role.threshold} must sign; "
                "bring the others there as root-N.pem"
            )
        return found

    def root_slot(self, current: bytes, retired: str) -> tuple[KeyFile, str]:
        """Where the successor of a root key goes, and the retired key's id.

        Args:
            current: The newest root.
            retired: The number of the key's file, or its id (or the beginning of it) when the file is lost.

        Raises:
            KeysMissing: no root key is meant by that.
        """
        keyids = Metadata[Root].from_bytes(current).signed.roles[Root.type].keyids
        files = {path: signer.public_key.keyid for path, signer in self._root_files().items()}
        if retired.isdigit() and len(retired) < 5:
            path = self.folder.root_key(int(retired))
            if path not in files:
                raise KeysMissing(f"{path} is not there; name the key by its id when it is lost")
            return KeyFile(path, self.passphrase), files[path]
        meant = [keyid for keyid in keyids if retired and keyid.startswith(retired)]
        if len(meant) != 1:
            raise KeysMissing(
                f"{retired!r} means {len(meant)} of the root keys; `shoal keys status` shows their ids"
            )
        for path, keyid in files.items():
            if keyid == meant[0] and not path.stem.endswith("-next"):
                return KeyFile(path, self.passphrase), keyid
        return KeyFile(self._free_root_key(), self.passphrase), meant[0]

    def _root_files(self) -> dict[Path, CryptoSigner]:
        if not self.folder.offline.is_dir():
            raise KeysMissing(
                f"{self.folder.offline} is not there; name the folder that `shoal keys init` made"
            )
        paths = sorted(self.folder.offline.iterdir())
        return {
            path: load_signer(path, self.passphrase)
            for path in paths
            if _ROOT_FILE.fullmatch(path.name)
        }

    def _free_root_key(self) -> Path:
        number = 1
        while self.folder.root_key(number).exists():
            number += 1
        return self.folder.root_key(number)
