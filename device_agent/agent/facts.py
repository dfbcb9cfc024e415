"""What this device says of itself, gathered once at the start."""

import platform
from importlib.metadata import PackageNotFoundError, version

from shoal_task import GUEST_API

from device_agent.agent.config import FILE, AgentConfig
from device_agent.agent.errors import ConfigInvalid
from device_agent.agent.messages import Facts
from device_agent.engine import _core
from device_agent.tasks.bytecode import python_tag

# The agent comes in a wheel of its own, or with everything else.
AGENT_DISTRIBUTION = "shoal-agent"
WHOLE_DISTRIBUTION = "shoal"
# As protos/shoal/identity says: the cloud refuses every Sync with more.
FACTS_BYTES_MAX = 1024


def agent_version() -> str:
    """Version of the distribution that this agent was installed from."""
    try:
        return version(AGENT_DISTRIBUTION)
    except PackageNotFoundError:
        return version(WHOLE_DISTRIBUTION)


def gather_facts(config: AgentConfig) -> Facts:
    """The facts of this machine and this configuration.

    Raises:
        ConfigInvalid: the cloud would refuse them, because they are too long together.
    """
    found = Facts(
        agent_version=agent_version(),
        guest_api=GUEST_API,
        op_set=_core.OP_SET,
        python_tag=python_tag(),
        cpu_features=_core.cpu_features(),
        os=platform.system().lower(),
        os_version=platform.release(),
        app_version=config.app_version,
        attributes=config.attributes,
    )
    if (size := found.message().ByteSize()) > FACTS_BYTES_MAX:
        raise ConfigInvalid(
            f"what this device says of itself has {size} bytes; {FACTS_BYTES_MAX} are allowed: "
            f"shorten [attributes] and [app] in {FILE}"
        )
    return found
