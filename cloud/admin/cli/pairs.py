"""Flags that hold key=value."""

from collections.abc import Sequence

from cloud.admin.cli.errors import UsageWrong


def parse_pairs(pairs: Sequence[str], flag: str) -> dict[str, str]:
    """Reads "key=value" pairs; the value may hold further signs of equality.

    Raises:
        UsageWrong: One is no pair, or a key comes twice.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageWrong(f"{pair!r} is not a pair: write {flag} key=value")
        if key in found:
            raise UsageWrong(f"{flag} {key} comes twice: a device has one value of it")
        found[key] = value
    return found
