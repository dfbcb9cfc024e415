"""When an agent has to begin anew: what only a new process gives back has grown past its bounds. Pure.

Rules of this module:

- A VM in a call that does not come back holds a thread and memory for as long as the process lives; a VM that has ended
  leaves some blocks behind, too. Neither is an error of the run that caused it, so both only add up, and are bounded.
"""

from device_agent.agent.settings import AgentSettings
from device_agent.vm.interface import Wear

MIB = 1024 * 1024


def why_worn(wear: Wear, settings: AgentSettings) -> str:
    """Why the process is to begin anew, in words; empty while it need not."""
    if wear.left_behind > settings.vms_left_behind_max:
        return (
            f"{wear.left_behind} VMs are in calls that do not come back, and "
            f"{settings.vms_left_behind_max} are carried; the agent drains and restarts itself"
        )
    if wear.left_bytes > settings.left_bytes_max:
        return (
            f"VMs have left {wear.left_bytes // MIB} MiB behind, and "
            f"{settings.left_bytes_max // MIB} are carried; the agent drains and restarts itself"
        )
    return ""
