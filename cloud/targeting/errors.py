"""Errors of targeting.

ShoalError
└── TargetingInvalid    the caller's fault
"""

from typing import ClassVar

from device_agent.errors import ShoalError


class TargetingInvalid(ShoalError):
    """A targeting that this cloud cannot read in full, and therefore does not apply in part."""

    code: ClassVar[str] = "TARGETING_INVALID"
    status: ClassVar[str] = "INVALID_ARGUMENT"
