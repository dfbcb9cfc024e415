"""Errors of dry runs.

ShoalError
└── SamplesInvalid   caller's: the sample events cannot be used
"""

from device_agent.errors import ShoalError


class SamplesInvalid(ShoalError):
    """There are no sample events, too many, or one that cannot be an event."""

    code = "SAMPLES_INVALID"
    status = "INVALID_ARGUMENT"
