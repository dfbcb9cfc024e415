"""Names that devices and cloud share: namespaces, tasks, topics, digests, device ids, release ids, target paths.

Rules of this module:

- A name is checked once, where it enters; past that point its form is taken for granted.
- A segment is lower-case ASCII, so that it means the same in a URL, a file name, a topic and a TUF path.
- Nothing here reads a clock or a random source: both are handed in.
"""

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from device_agent.tasks.errors import NameInvalid

SEGMENT_CHARS_MAX = 63
_SEGMENT = re.compile(r"[a-z][a-z0-9-]{0,62}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HEX_64 = re.compile(r"[0-9a-f]{64}")
_DEVICE_ID = re.compile(r"[0-9a-f]{32}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
# Crockford's alphabet: no i, l, o, u; its order is the order of ASCII, so ids sort by time.
_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
_RELEASE_ID = re.compile(f"r[0-7][{_BASE32}]{{25}}")
RELEASE_ENTROPY_BYTES = 10


@dataclass(frozen=True, slots=True, order=True)
class Namespace:
    """What every id, table, topic, TUF path and token scope starts with.

    Attributes:
        app: First segment.
        project: Second segment.
    """

    app: str
    project: str

    def __post_init__(self) -> None:
        _check_segment(self.app, f"{self.app}/{self.project}", "a namespace's app")
        _check_segment(self.project, f"{self.app}/{self.project}", "a namespace's project")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads "app/project".

        Raises:
            NameInvalid: it is not two valid segments.
        """
        segments = text.split("/")
        if len(segments) != 2:
            raise NameInvalid(f"{_shown(text)} is not a namespace; write it as app/project")
        return cls(*segments)

    @property
    def dotted(self) -> str:
        """The name as a TUF role: "app.project"."""
        return f"{self.app}.{self.project}"

    def __str__(self) -> str:
        return f"{self.app}/{self.project}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPath:
    """Where a file of a version lies in the TUF repository."""

    namespace: Namespace
    task: str
    version: int
    digest: str

    def __str__(self) -> str:
        return target_path(self.namespace, self.task, self.version, self.digest)


def check_task_name(text: str) -> str:
    """Gives the task name back, or raises NameInvalid."""
    return _check_segment(text, text, "a task name")


def check_topic(text: str) -> str:
    """Gives the topic that a task emits to back, or raises NameInvalid."""
    return _check_segment(text, text, "a topic")


def check_digest(text: str) -> str:
    """Gives the digest back, or raises NameInvalid."""
    if not _DIGEST.fullmatch(text):
        raise NameInvalid(f'{_shown(text)} is not a digest; write "sha256:" and 64 hex digits')
    return text


def check_device_id(text: str) -> str:
    """Gives the device id back, or raises NameInvalid."""
    if not _DEVICE_ID.fullmatch(text):
        raise NameInvalid(f"{_shown(text)} is not a device id; it has 32 lower-case hex digits")
    return text


def check_release_id(text: str) -> str:
    """Gives the release id back, or raises NameInvalid."""
    if not _RELEASE_ID.fullmatch(text):
        raise NameInvalid(f'{_shown(text)} is not a release id; it is "r" and 26 characters')
    return text


def is_text(text: str) -> bool:
    """Whether it can be written: JSON may name half a character, which no file can hold."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def sha256_digest(data: bytes | memoryview) -> str:
    """Digest of some bytes, in the form that the whole project uses."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def digest_hex(digest: str) -> str:
    """The 64 hex digits of a digest."""
    return check_digest(digest).removeprefix("sha256:")


def device_id_of(public_key_der: bytes) -> str:
    """Device id of a public key, given as DER SubjectPublicKeyInfo."""
    return hashlib.sha256(public_key_der).hexdigest()[:32]


def new_release_id(now_ms: int, entropy: bytes) -> str:
    """A release id: 48 bits of time and 80 of entropy, so that ids sort by time."""
    if not 0 <= now_ms < 1 << 48 or len(entropy) != RELEASE_ENTROPY_BYTES:
        raise ValueError(f"now_ms={now_ms} must fit 48 bits and entropy {RELEASE_ENTROPY_BYTES} B")
    number = now_ms << 80 | int.from_bytes(entropy, "big")
    return "r" + "".join(_BASE32[number >> shift & 31] for shift in range(125, -1, -5))


def target_path(namespace: Namespace, task: str, version: int, digest: str) -> str:
    """TUF target path of a file of a version."""
    return f"{namespace}/{task}/{version}/{digest_hex(digest)}"


def parse_target_path(path: str) -> TargetPath:
    """Reads a TUF target path.

    Raises:
        NameInvalid: it is not app/project/task/version/sha256 hex.
    """
    parts = path.split("/")
    if len(parts) != 5 or not _VERSION.fullmatch(parts[3]) or not _HEX_64.fullmatch(parts[4]):
        raise NameInvalid(
            f"{_shown(path)} is not a target path; write app/project/task/version/sha256-hex"
        )
    app, project, task, version, digest = parts
    return TargetPath(
        namespace=Namespace(app, project),
        task=check_task_name(task),
        version=int(version),
        digest=f"sha256:{digest}",
    )


def _check_segment(segment: str, whole: str, what: str) -> str:
    if not _SEGMENT.fullmatch(segment):
        raise NameInvalid(
            f"{_shown(whole)}: {what} starts with a letter a-z, goes on with a-z, 0-9 and -, "
            f"and has at most {SEGMENT_CHARS_MAX} characters"
        )
    return segment


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
