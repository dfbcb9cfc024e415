"""Rotates the first root key of a repository: python -m tests.helpers.crash_root KEYS_FOLDER ARTIFACTS_URL NEW_KEY.

What an operator's own script does with the offline keys; SHOAL_FAILPOINT ends it where it says. The new key lies in
NEW_KEY, so that whoever tries again signs the same root.
"""

import asyncio
import os
import sys
from pathlib import Path

from tuf.api.metadata import Metadata, Root

from cloud.keys.files import KeyFolder, load_signer
from cloud.keys.online import OnlineKeys
from cloud.keys.repository import TufRepository
from cloud.keys.rotation import rotate_root_key
from device_agent.clock import SystemClock
from device_agent.failpoint import arm_from_environment


async def main(folder: Path, url: str, new_key: Path) -> int:
    """Rotates unless it is done; gives the version of the root."""
    keys, now_ms = KeyFolder(folder), SystemClock().wall_ms()
    online = OnlineKeys.load(folder / "online")
    repository = TufRepository.open(url, online.repository)
    await repository.load(online.first_metadata, now_ms)
    old = [load_signer(keys.root_key(number)) for number in (1, 2, 3)]
    fresh = load_signer(new_key)
    trusted = Metadata[Root].from_bytes(repository.root()).signed
    if fresh.public_key.keyid not in trusted.keys:
        root = rotate_root_key(repository.root(), old, old[0].public_key.keyid, fresh, now_ms)
        await repository.accept_root(root, now_ms)
    return Metadata[Root].from_bytes(repository.root()).signed.version


if __name__ == "__main__":
    arm_from_environment(os.environ)
    version = asyncio.run(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])))
    sys.stdout.write(f"root {version}\n")
