"""What every part of one agent stands on."""

from dataclasses import dataclass
from pathlib import Path
from random import Random

from device_agent.agent.messages import Facts
from device_agent.agent.observer import Observer
from device_agent.agent.settings import AgentSettings
from device_agent.agent.store.store import Store
from device_agent.agent.trusted_clock import TrustedClock


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """The agent's store and folder, its sense of time and chance, its limits, and who watches.

    Attributes:
        store: What is durable.
        home: The home folder.
        clock: The clock as the cloud mended it.
        random: Where chance comes from.
        facts: What the device says of itself.
        settings: Every limit.
        observer: Hears of what happened.
    """

    store: Store
    home: Path
    clock: TrustedClock
    random: Random
    facts: Facts
    settings: AgentSettings
    observer: Observer
