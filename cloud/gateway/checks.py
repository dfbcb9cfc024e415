"""What a Sync may hold: every limit of protos/shoal/device, checked where the request enters.

Rules of this module:

- A message says which limit was broken and what the limit is; it does not repeat what the device sent.
- A field that this version does not know is no error: devices are older and newer than the gateway.
"""

from google.protobuf.message import DecodeError
from shoal.device.v1 import device_pb2
from shoal.identity.v1 import identity_pb2

from cloud.gateway.errors import SyncInvalid
from cloud.gateway.settings import SyncSettings

BOOT_BYTES = 16
_parse = device_pb2.SyncRequest.FromString


def read_request(data: bytes, settings: SyncSettings) -> device_pb2.SyncRequest:
    """Reads a request whose profile may not be looked at; see `check_profile`.

    Raises:
        SyncInvalid: it is too long, or no SyncRequest.
    """
    if len(data) > settings.request_bytes_max:
        raise SyncInvalid(f"the request is longer than {settings.request_bytes_max} bytes")
    try:
        request = _parse(data)
    except DecodeError as error:
        raise SyncInvalid("the request is no shoal.device.v1.SyncRequest") from error
    # Facts are part of the request: a short one cannot hold long facts.
    if len(data) > settings.facts_bytes_max:
        size = request.facts.ByteSize()
        if size > settings.facts_bytes_max:
            raise SyncInvalid(
                f"the facts have {size} bytes encoded; the limit is {settings.facts_bytes_max}: "
                "send fewer or shorter attributes"
            )
    return request


def check_profile(request: device_pb2.SyncRequest, settings: SyncSettings) -> None:
    """Checks what a decision reads.

    Raises:
        SyncInvalid: the profile or the facts break a limit.
    """
    rows = len(request.installed)
    if rows > settings.rows_max:
        raise SyncInvalid(f"the profile has {rows} rows; at most {settings.rows_max} fit")
    # A device whose facts changed says epoch 0; the size of all facts is limited on every request.
    if request.epoch == 0:
        _check_attributes(request.facts, settings)


def _check_attributes(facts: identity_pb2.DeviceFacts, settings: SyncSettings) -> None:
    if len(facts.attributes) > settings.attributes_max:
        raise SyncInvalid(f"the facts have more than {settings.attributes_max} attributes")
    key_max, value_max = settings.attribute_key_bytes_max, settings.attribute_value_bytes_max
    for key, value in facts.attributes.items():
        # Characters are at most bytes: only what may be over is encoded to be counted.
        long_key = len(key) * 4 > key_max and len(key.encode()) > key_max
        long_value = len(value) * 4 > value_max and len(value.encode()) > value_max
        if not key or long_key or long_value:
            raise SyncInvalid(
                f"an attribute's name has 1 to {key_max} bytes and its value at most {value_max}"
            )


def check_acknowledgements(request: device_pb2.SyncRequest, settings: SyncSettings) -> None:
    """Checks what is going to be stored.

    Raises:
        SyncInvalid: acknowledgements break a limit, are of several boots, or out of order.
    """
    told = request.acknowledgements
    if len(told) > settings.acknowledgements_max:
        raise SyncInvalid(f"more than {settings.acknowledgements_max} acknowledgements in a call")
    boot, before = told[0].boot, 0
    if len(boot) != BOOT_BYTES:
        raise SyncInvalid(f"an acknowledgement's boot has {BOOT_BYTES} bytes")
    for one in told:
        if one.boot != boot:
            raise SyncInvalid("the acknowledgements of a call must be of one boot")
        if not before < one.sequence < 1 << 63:
            raise SyncInvalid("acknowledgements must grow in sequence, from 1")
        before = one.sequence
        _check_texts(one, settings.text_chars_max)


def _check_texts(one: device_pb2.Acknowledgement, chars_max: int) -> None:
    version = one.version
    texts = (version.task, version.digest, one.release_id, one.error_code, one.traceparent)
    if max(map(len, texts)) > chars_max:
        raise SyncInvalid(f"a text of an acknowledgement is longer than {chars_max} characters")
    # PostgreSQL takes no such text, and would refuse the acknowledgements of others with it.
    if any("\0" in text for text in texts):
        raise SyncInvalid("a text of an acknowledgement has a zero byte in it")
