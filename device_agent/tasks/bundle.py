"""The digest of a bundle: one name for what an author wrote.

Rules of this module:

- It covers the manifest (canonical), the sources and the resources, each by path and digest. Bytecode is derived and
  not in it.
- Every part is length-prefixed and the whole is domain-separated, so no two bundles share an input.
"""

import hashlib
from collections.abc import Mapping

from device_agent.tasks.manifest import Manifest
from device_agent.tasks.names import digest_hex

_DOMAIN = b"shoal bundle 1\n"


def bundle_digest(
    manifest: Manifest, sources: Mapping[str, str], resources: Mapping[str, str]
) -> str:
    """Digest of a bundle.

    Args:
        manifest: Its manifest.
        sources: Path of each script to its digest.
        resources: Path of each resource to its digest.

    Returns:
        "sha256:" and 64 hex digits.
    """
    whole = hashlib.sha256(_DOMAIN)
    _add(whole, b"manifest", manifest.to_json())
    for kind, files in ((b"source", sources), (b"resource", resources)):
        for path in sorted(files):
            _add(whole, kind, path.encode(), bytes.fromhex(digest_hex(files[path])))
    return f"sha256:{whole.hexdigest()}"


def _add(whole: "hashlib._Hash", *parts: bytes) -> None:
    for part in parts:
        whole.update(len(part).to_bytes(8, "little"))
        whole.update(part)
