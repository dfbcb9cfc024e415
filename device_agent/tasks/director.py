"""The director document: what one device shall run, signed online for that device alone (Uptane's split).

Rules of this module:

- The document is JSON inside a DSSE envelope of payload type PAYLOAD_TYPE; unknown fields are refused by version.
- It is whole for the tasks it names: a device holds just these tasks, the rest of its tasks are removed only when an
  instruction says so.
- Files are named by digest and by TUF target; the director decides *what*, TUF proves *that it is genuine*.
- Time and order: a device refuses a document older, by (epoch, issued_at_ms), than the one it holds, and installs
  nothing from one that has expired.
"""

import enum

import msgspec

PAYLOAD_TYPE = "application/vnd.shoal.director.v1+json"
DOCUMENT_BYTES_MAX = 256 * 1024
TASKS_MAX = 256
FILES_MAX = 256


class Action(enum.StrEnum):
    """What the device shall do about a task."""

    INSTALL = "install"
    KEEP = "keep"
    REMOVE = "remove"
    ROLL_BACK = "roll_back"


class Scope(enum.StrEnum):
    """Who may download a file."""

    SHARED = "shared"
    EXCLUSIVE = "exclusive"


class BundleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a bundle.

    Attributes:
        path: Place inside the bundle, e.g. "manifest.json", "code.bin", "models/digits.shoalmodel".
        digest: "sha256:" and 64 hex digits.
        size: Bytes.
        scope: Shared files are fetched by digest by anyone; exclusive ones need a ticket.
        target: TUF target path, e.g. "demo/digits-app/digits/3/<sha256 hex>".
    """

    path: str
    digest: str
    size: int
    scope: Scope
    target: str


class TaskInstruction(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to do about one task.

    Attributes:
        task: Task name.
        action: What to do. ROLL_BACK is an authorised downgrade to the version named.
        version: Version number that the device shall hold afterwards; 0 with REMOVE.
        digest: Digest of that version; empty with REMOVE.
        release_id: Release that asks for it; goes back in the acknowledgement.
        traceparent: W3C trace context of the release; empty when tracing is off.
        files: The bundle's files; empty with KEEP and REMOVE.
    """

    task: str
    action: Action
    version: int = 0
    digest: str = ""
    release_id: str = ""
    traceparent: str = ""
    files: tuple[BundleFile, ...] = ()


class KillSwitch(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What must not run, outside all releases; remembered offline.

    Attributes:
        all: Nothing may run.
        tasks: Names of the tasks that may not run.
    """

    all: bool = False
    tasks: tuple[str, ...] = ()


class DirectorDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The document.

    Attributes:
        device: Device id; a document for another device is refused.
        namespace: "app/project".
        epoch: Epoch of the release set that it was decided with.
        issued_at_ms: When, milliseconds since 1970.
        expires_at_ms: After this the device keeps running and installs nothing.
        tasks: One instruction a task.
        kill: Kill switch.
    """

    device: str
    namespace: str
    epoch: int
    issued_at_ms: int
    expires_at_ms: int
    tasks: tuple[TaskInstruction, ...]
    kill: KillSwitch
