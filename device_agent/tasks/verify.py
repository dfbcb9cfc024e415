"""What a device accepts: decided purely, from bytes, keys and times that are handed in.

Rules of this module, in the order in which they are checked:

- V1 A document is bounded before it is parsed.
- V2 Its envelope is signed by a key that the TUF target shoal/keys/director names; an unsigned byte is never parsed.
- V3 It is for this device in this namespace.
- V4 It is not older, by (epoch, issued_at_ms), than the one the device holds. The same document again is fine.
- V5 It has not expired. An expired document installs nothing; what runs keeps running.
- V6 Every file equals the TUF target that it names (length and digest), and the target belongs to this namespace, task
  and version and to this place in the bundle: the director chooses among genuine things and cannot recombine them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from device_agent.tasks.director import (
    DOCUMENT_BYTES_MAX,
    FILES_MAX,
    PAYLOAD_TYPE,
    TASKS_MAX,
    Action,
    BundleFile,
    DirectorDocument,
    TaskInstruction,
)
from device_agent.tasks.dsse import Envelope, decode_envelope, pae
from device_agent.tasks.errors import NameInvalid
from device_agent.tasks.names import Namespace, parse_target_path
from device_agent.tasks.trust_errors import (
    DirectorExpired,
    DirectorForAnotherDevice,
    DirectorInvalid,
    DirectorOlder,
    SignatureInvalid,
    TargetMismatch,
    TargetUnknown,
)

# Base64 takes a third more than the document, the rest of the envelope less than 4 KiB.
ENVELOPE_BYTES_MAX = DOCUMENT_BYTES_MAX * 4 // 3 + 4096

type DirectorKeys = Mapping[str, Ed25519PublicKey]

_decoder = msgspec.json.Decoder(DirectorDocument)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetInfo:
    """What signed metadata says of one file.

    Attributes:
        path: TUF target path.
        length: Bytes.
        sha256: 64 hex digits.
        bundle_paths: Places in the bundle that this content may take; the publisher signed them with the target.
    """

    path: str
    length: int
    sha256: str
    bundle_paths: tuple[str, ...]


def verify_director(
    envelope: bytes,
    *,
    keys: DirectorKeys,
    device: str,
    namespace: str,
    held: tuple[int, int] | None,
    now_ms: int,
) -> DirectorDocument:
    """Reads a new document, or refuses it with the error that names the reason.

    Args:
        envelope: DSSE envelope as the cloud sent it.
        keys: Director keys that TUF vouches for, by key id.
        device: Id of this device.
        namespace: "app/project" of this device.
        held: (epoch, issued_at_ms) of the newest document that was accepted; None when there is none.
        now_ms: Trusted wall clock.
    """
    document = read_director(envelope, keys=keys)
    if document.device != device or document.namespace != namespace:  # V3
        raise DirectorForAnotherDevice(
            "the document is for another device or namespace; nothing was changed, and the next Sync asks again"
        )
    if held is not None and (document.epoch, document.issued_at_ms) < held:  # V4
        raise DirectorOlder(
            f"the document of epoch {document.epoch} is older than the one held, {held[0]}; it was not used"
        )
    if now_ms >= document.expires_at_ms:  # V5
        raise DirectorExpired(
            "the document has expired: nothing is installed from it, what runs keeps running; "
            "check the device's clock and its link to the cloud"
        )
    return document


def read_director(envelope: bytes, *, keys: DirectorKeys) -> DirectorDocument:
    """Checks size and signature only: how a device reads the document that it already holds."""
    if len(envelope) > ENVELOPE_BYTES_MAX:  # V1
        raise DirectorInvalid(
            f"the document has {len(envelope)} bytes, more than {ENVELOPE_BYTES_MAX}; it was not read"
        )
    try:
        split = decode_envelope(envelope)
    except ValueError as error:
        raise DirectorInvalid(f"{error}; the cloud must send the document again") from error
    _check_signature(split, keys)  # V2
    try:
        document = _decoder.decode(split.payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DirectorInvalid(
            f"the signed document cannot be read: {error}; update the agent, or the cloud"
        ) from error
    _check_shape(document)
    return document


def check_files_against_targets(
    instruction: TaskInstruction, namespace: str, infos: Mapping[str, TargetInfo]
) -> None:
    """Compares every file of an instruction with what TUF says of it (V6).

    Raises:
        TargetUnknown: a file names a target that no signed metadata has.
        TargetMismatch: a file and its target disagree, or the target is of another namespace, task, version or place.
    """
    for file in instruction.files:
        info = infos.get(file.target)
        if info is None:
            raise TargetUnknown(
                f"{file.target} is not a target of this repository; {file.path} was not fetched"
            )
        _check_belongs(file, instruction, namespace)
        if (file.size, file.digest) != (info.length, f"sha256:{info.sha256}"):
            raise TargetMismatch(
                f"{file.path}: the director's size or digest is not what was published"
            )
        if file.path not in info.bundle_paths:
            raise TargetMismatch(
                f"{file.path}: this content was published for another place in the bundle"
            )


def _check_belongs(file: BundleFile, instruction: TaskInstruction, namespace: str) -> None:
    try:
        target = parse_target_path(file.target)
    except NameInvalid as error:
        raise TargetMismatch(f"{file.path}: {error}") from error
    wanted = (Namespace.parse(namespace), instruction.task, instruction.version, file.digest)
    if (target.namespace, target.task, target.version, target.digest) != wanted:
        raise TargetMismatch(
            f"{file.path}: {file.target} is not a file of {namespace}/{instruction.task} "
            f"version {instruction.version}; nothing was fetched"
        )


def _check_signature(envelope: Envelope, keys: DirectorKeys) -> None:
    if envelope.payload_type != PAYLOAD_TYPE:
        raise DirectorInvalid(f"the envelope holds {envelope.payload_type!r}, not {PAYLOAD_TYPE}")
    signed = pae(PAYLOAD_TYPE.encode(), envelope.payload)
    for keyid, signature in envelope.signatures:
        key = keys.get(keyid)
        if key is None:
            continue
        try:
            key.verify(signature, signed)
        except InvalidSignature:
            continue
        return
    raise SignatureInvalid(
        "no signature of the document is by a director key that the repository vouches for; "
        "refresh the metadata: the key may have changed"
    )


def _check_shape(document: DirectorDocument) -> None:
    tasks = document.tasks
    if len(tasks) > TASKS_MAX or any(len(task.files) > FILES_MAX for task in tasks):
        raise DirectorInvalid(
            f"a document names at most {TASKS_MAX} tasks of {FILES_MAX} files each"
        )
    if len({task.task for task in tasks}) != len(tasks):
        raise DirectorInvalid("a document names each task once")
    for task in tasks:
        changes = task.action in (Action.INSTALL, Action.ROLL_BACK)
        if changes != bool(task.files):
            raise DirectorInvalid(f"{task.task}: {task.action} with {len(task.files)} files")
        if len({file.path for file in task.files}) != len(task.files):
            raise DirectorInvalid(f"{task.task}: two files at one place of the bundle")
