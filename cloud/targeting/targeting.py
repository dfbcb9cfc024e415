"""Targeting: the devices that a release is for, by what they are.

Rules of this module:

- Pure: the same targeting and the same attributes always give the same answer, in the gateway, in a preview and in a
  simulation.
- JSON in and out is {"attributes": {name: value}}; all must be equal, an empty one is every device.
- A key that this version does not know is refused, never skipped: a rule half read would reach devices that it was
  written to spare. The policy language will be one more key, "policy", beside "attributes".
"""

import dataclasses
from collections.abc import Callable, Mapping

from cloud.targeting.errors import TargetingInvalid
from cloud.targeting.settings import TargetingSettings

DEFAULTS = TargetingSettings()

type Matcher = Callable[[Mapping[str, str]], bool]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Targeting:
    """Whom a release is for.

    Attributes:
        attributes: Each named attribute must have this value; empty means every device.
    """

    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_json(cls, value: object, settings: TargetingSettings = DEFAULTS) -> "Targeting":
        """Reads what `to_json` wrote, or what an operator sent.

        Raises:
            TargetingInvalid: It is not of the form above, or beyond the limits.
        """
        if not isinstance(value, Mapping):
            raise TargetingInvalid('targeting must be an object such as {"attributes": {}}')
        unknown = sorted(str(key) for key in value if key != "attributes")
        if unknown:
            raise TargetingInvalid(
                f"targeting has unknown keys {', '.join(unknown)}: this cloud knows only "
                f'"attributes"; remove them or update the cloud'
            )
        attributes = value.get("attributes", {})
        if not isinstance(attributes, Mapping):
            raise TargetingInvalid('targeting: "attributes" must be an object of text values')
        return cls(attributes=_checked(attributes, settings))

    def to_json(self) -> dict[str, dict[str, str]]:
        """The targeting as JSON, names in order."""
        return {"attributes": dict(sorted(self.attributes.items()))}

    def covers(self, other: "Targeting") -> bool:
        """Whether every device of `other`, whatever devices there are, is also one of this."""
        return self.attributes.items() <= other.attributes.items()


def matches(targeting: Targeting, attributes: Mapping[str, str]) -> bool:
    """Whether a device with these attributes is one of the targeting's."""
    return all(attributes.get(name) == value for name, value in targeting.attributes.items())


def compile_matcher(targeting: Targeting) -> Matcher:
    """`matches` with the targeting read once: for whoever asks about many devices."""
    wanted = tuple(targeting.attributes.items())
    if not wanted:
        return lambda _attributes: True
    if len(wanted) == 1:
        ((name, value),) = wanted
        return lambda attributes: attributes.get(name) == value
    return lambda attributes: all(attributes.get(name) == value for name, value in wanted)


def _checked(attributes: Mapping[object, object], settings: TargetingSettings) -> dict[str, str]:
    if len(attributes) > settings.attributes_max:
        raise TargetingInvalid(
            f"targeting names {len(attributes)} attributes; at most {settings.attributes_max} fit"
        )
    checked: dict[str, str] = {}
    for name, value in attributes.items():
        if not isinstance(name, str) or not 0 < _size_bytes(name) <= settings.key_bytes_max:
            raise TargetingInvalid(
                f"targeting: an attribute's name must be text of 1 to {settings.key_bytes_max} bytes"
            )
        if not isinstance(value, str) or _size_bytes(value) > settings.value_bytes_max:
            raise TargetingInvalid(
                f"targeting: the value of {name!r} must be text of at most "
                f"{settings.value_bytes_max} bytes; write numbers in quotes"
            )
        checked[name] = value
    return checked


def _size_bytes(text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise TargetingInvalid(
            "targeting: a name or value is no Unicode text (half of a surrogate pair); type it again"
        ) from None
