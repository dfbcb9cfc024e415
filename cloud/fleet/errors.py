"""Errors of local fleets.

ShoalError
└── ProcessFailed   a cloud or an agent did not become ready, or ended by itself (ours or the machine's fault)
"""

from device_agent.errors import ShoalError


class ProcessFailed(ShoalError):
    """A process of the fleet ended or did not become ready; the message holds the end of its log."""

    code = "PROCESS_FAILED"
    status = "INTERNAL"
