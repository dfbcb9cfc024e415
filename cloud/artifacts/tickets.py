"""Tickets: what opens one exclusive file to one device for a short time.

Rules of this module:

- A ticket names device, digest and expiry, and carries an HMAC over them by a secret that all servers share: checking
  one needs no database.
- A ticket alone opens nothing: the request must prove that it comes from the device that the ticket names
  (device_agent/tasks/proof.py), so a stolen ticket is useless.

Text form: `v1.<device id>.<sha256 hex>.<expiry, ms since 1970>.<HMAC-SHA256, hex>`.
"""

import hashlib
import hmac

from device_agent.tasks.names import check_device_id, digest_hex
from device_agent.tasks.trust_errors import TicketInvalid

SECRET_BYTES_MIN = 32
TICKET_CHARS_MAX = 256


class TicketSigner:
    """Issues and checks tickets."""

    def __init__(self, secret: bytes) -> None:
        if len(secret) < SECRET_BYTES_MIN:
            raise ValueError(f"a ticket secret has at least {SECRET_BYTES_MIN} bytes")
        self._secret = secret

    def issue(self, device_id: str, digest: str, expires_at_ms: int) -> str:
        """A ticket for one device, one file, until one time."""
        said = f"v1.{check_device_id(device_id)}.{digest_hex(digest)}.{expires_at_ms}"
        return f"{said}.{self._mac(said)}"

    def check(self, ticket: str, *, device_id: str, digest: str, now_ms: int) -> None:
        """Makes sure that a ticket opens this file to this device now.

        Raises:
            TicketInvalid: it does not.
        """
        said, _, mac = ticket.rpartition(".")
        genuine = len(ticket) <= TICKET_CHARS_MAX and hmac.compare_digest(
            self._mac(said).encode(), mac.encode()
        )
        if not genuine:
            raise TicketInvalid("the ticket was not issued by this cloud; ask GetTicket for one")
        _, device, hexadecimal, expires = said.split(".")
        if device != device_id:
            raise TicketInvalid("the ticket is another device's; ask GetTicket for one of your own")
        if hexadecimal != digest_hex(digest):
            raise TicketInvalid("the ticket opens another file; ask GetTicket for this one")
        if now_ms >= int(expires):
            raise TicketInvalid("the ticket has expired; ask GetTicket for a new one")

    def _mac(self, said: str) -> str:
        return hmac.new(self._secret, said.encode(), hashlib.sha256).hexdigest()
