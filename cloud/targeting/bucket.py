"""Buckets: where a device stands, by salted hash, on a ruler of a million steps.

Rules of this module:

- `bucket` is stable for ever: golden values are pinned by a test, for a change would move every stage of every release.
- A device is in a share of p millionths when its bucket is below p, so widening a share never drops a device.
- Different salts give independent samples; the salt of a release is the release's own unless it is asked to be sticky.
"""

import hashlib

BUCKETS = 1_000_000


def bucket(salt: str, device_id: str) -> int:
    """The device's place under this salt, from 0 to BUCKETS - 1.

    The hash is the first 8 bytes of BLAKE2b over "salt:device_id", big-endian. A device id is hexadecimal and holds no
    colon, so that no two pairs give the same text.
    """
    digest = hashlib.blake2b(f"{salt}:{device_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) * BUCKETS >> 64


def in_share(salt: str, device_id: str, share_ppm: int) -> bool:
    """Whether the device is among the first `share_ppm` millionths under this salt."""
    return bucket(salt, device_id) < share_ppm
