"""The attributes that a device is matched by: what the operator said of it and what it says of itself.

Rules of this module:

- Later wins: attributes given at enrolment, then the device's own, then the facts below under their fixed names.
- A fact that the device does not tell is absent, not empty, so that {"app_version": ""} matches nobody by accident.
- Both faces take the same facts: the gateway has the wire message, the store has its JSON (proto field names).
"""

from collections.abc import Mapping
from typing import Protocol

FACT_NAMES = ("os", "os_version", "app_version", "agent_version")


class Facts(Protocol):
    """The part of shoal.identity.v1.DeviceFacts that is matched by."""

    @property
    def os(self) -> str: ...  # noqa: D102 - named in the proto
    @property
    def os_version(self) -> str: ...  # noqa: D102 - named in the proto
    @property
    def app_version(self) -> str: ...  # noqa: D102 - named in the proto
    @property
    def agent_version(self) -> str: ...  # noqa: D102 - named in the proto
    @property
    def attributes(self) -> Mapping[str, str]: ...  # noqa: D102 - named in the proto


def device_attributes(enrolled: Mapping[str, str], facts: Facts) -> dict[str, str]:
    """Attributes of a device that has just spoken."""
    told = {name: getattr(facts, name) for name in FACT_NAMES}
    return {
        **enrolled,
        **facts.attributes,
        **{name: value for name, value in told.items() if value},
    }


def stored_attributes(enrolled: Mapping[str, str], facts: Mapping[str, object]) -> dict[str, str]:
    """Attributes of a device as the store last knew it; `facts` is the row's JSON."""
    own = facts.get("attributes")
    merged = dict(enrolled)
    if isinstance(own, Mapping):
        merged.update({str(name): str(value) for name, value in own.items()})
    merged.update({name: str(facts[name]) for name in FACT_NAMES if facts.get(name)})
    return merged
