"""How often a source may try to enrol: token buckets, one a source address and one for all. Pure.

Rules of this module:

- A try costs one; a refused token costs many, so that guessing ends the tries of its address and of nobody else.
- A try that is turned away costs nothing: who waits as long as the answer says gets in.
- Bounded: the addresses that were quiet for longest are forgotten first. What is forgotten was nearly full or is paid
  for by the bucket of all.
- An IPv6 address counts as its /64, which one customer holds.
"""

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

from cloud.keys.settings import SETTINGS, KeySettings


@dataclass(slots=True)
class _Bucket:
    """What is left, as of a moment."""

    left: float
    at_ms: int

    def fill(self, now_ms: int, per_second: float, burst: int) -> None:
        # A clock that was set back fills nothing.
        gained = max(0, now_ms - self.at_ms) / 1000 * per_second
        self.left, self.at_ms = min(float(burst), self.left + gained), now_ms

    def wait_ms(self, per_second: float) -> int:
        """Until one try is there; 0 when it is."""
        return 0 if self.left >= 1 else int((1 - self.left) / per_second * 1000) + 1


class EnrolmentLimiter:
    """Says who may try now."""

    def __init__(self, settings: KeySettings = SETTINGS) -> None:
        self._settings = settings
        self._all = _Bucket(float(settings.enrol_burst), 0)
        self._sources: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, address: str, now_ms: int) -> int:
        """Takes a try; gives how many milliseconds to wait when there is none, 0 when it may go on."""
        settings, source = self._settings, self._source(address, now_ms)
        self._all.fill(now_ms, settings.enrol_per_second, settings.enrol_burst)
        wait_ms = max(
            source.wait_ms(settings.enrol_source_per_second),
            self._all.wait_ms(settings.enrol_per_second),
        )
        if wait_ms == 0:
            source.left -= 1
            self._all.left -= 1
        return wait_ms

    def refused(self, address: str, now_ms: int) -> None:
        """Charges a source for a token that opened nothing."""
        self._source(address, now_ms).left -= self._settings.enrol_refusal_cost

    def _source(self, address: str, now_ms: int) -> _Bucket:
        settings, name = self._settings, source_of(address)
        found = self._sources.pop(name, None) or _Bucket(float(settings.enrol_source_burst), now_ms)
        found.fill(now_ms, settings.enrol_source_per_second, settings.enrol_source_burst)
        self._sources[name] = found
        if len(self._sources) > settings.enrol_sources_max:
            self._sources.popitem(last=False)
        return found


def source_of(address: str) -> str:
    """What shares a bucket: an IPv4 address, the /64 of an IPv6 address, or what else was given."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))
