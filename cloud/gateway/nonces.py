"""Nonces that were seen, for as long as a header that carries one could be accepted again. Pure.

Rules of this module:

- Two generations: a nonce is remembered for one to two windows, then forgotten with its whole generation.
- Full is refused, not forgotten: a flood cannot make room for a replay.
"""

type Nonce = tuple[str, bytes]


class SeenNonces:
    """Which (device, nonce) pairs came before.

    Args:
        window_ms: How long a header can be accepted after it was first seen.
        nonces_max: In both generations together.
    """

    def __init__(self, *, window_ms: int, nonces_max: int) -> None:
        self._window_ms = window_ms
        self._half_max = nonces_max // 2
        self._young: set[Nonce] = set()
        self._old: set[Nonce] = set()
        self._turned_at_ms: int | None = None

    def take(self, device_id: str, nonce: bytes, now_ms: int) -> bool:
        """Notes the nonce; False when it was seen before or there is no room."""
        self._turn(now_ms)
        key = (device_id, nonce)
        if key in self._young or key in self._old or len(self._young) >= self._half_max:
            return False
        self._young.add(key)
        return True

    def _turn(self, now_ms: int) -> None:
        if self._turned_at_ms is None:
            self._turned_at_ms = now_ms
        elapsed_ms = now_ms - self._turned_at_ms
        if elapsed_ms < 0:
            # The clock went back: counted anew from here, or a full set would refuse everyone until it catches up.
            self._turned_at_ms = now_ms
        if elapsed_ms >= 2 * self._window_ms:
            self._old = set()
            self._young = set()
            self._turned_at_ms = now_ms
        elif elapsed_ms >= self._window_ms:
            self._old, self._young = self._young, set()
            self._turned_at_ms = now_ms
