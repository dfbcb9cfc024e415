"""Limits of targeting, each with its unit."""

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TargetingSettings:
    """What a targeting may hold.

    Attributes:
        attributes_max: Attributes that one targeting may name; a device tells at most 32 of its own.
        key_bytes_max: UTF-8 bytes of an attribute's name.
        value_bytes_max: UTF-8 bytes of an attribute's value.
    """

    attributes_max: int = 32
    key_bytes_max: int = 64
    value_bytes_max: int = 256
