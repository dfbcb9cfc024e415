"""Free text of callers, checked before anything is written.

Rules of this module:

- Text that UTF-8 cannot hold (half a surrogate pair), or that PostgreSQL refuses (NUL), is the caller's mistake: JSON
  can carry both, so every face asks here.
"""

import re
from collections.abc import Mapping

from cloud.admin.errors import ArgumentInvalid
from cloud.admin.settings import AdminSettings
from cloud.keys.publishing import SignedRoles
from cloud.targeting.targeting import Targeting

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def check_storable(name: str, text: str) -> str:
    """Gives the text back.

    Raises:
        ArgumentInvalid: A database cannot hold it.
    """
    if _UNSTORABLE.search(text):
        raise ArgumentInvalid(f"{name}: leave out NUL and halves of surrogate pairs")
    return text


def check_text(name: str, text: str, chars_max: int) -> str:
    """Gives the text back.

    Raises:
        ArgumentInvalid: It is too long, or a database cannot hold it.
    """
    if len(text) > chars_max:
        raise ArgumentInvalid(f"{name}: at most {chars_max} characters")
    return check_storable(name, text)


def signed_roles(roles: Mapping[str, str]) -> SignedRoles:
    """Signed metadata by role, as callers send it.

    Raises:
        ArgumentInvalid: A name or a text is none that UTF-8 can hold.
    """
    for name, text in roles.items():
        check_storable("roles", name + text)
    return SignedRoles(roles={name: text.encode() for name, text in roles.items()})


def check_reason(reason: str, settings: AdminSettings) -> str:
    """Gives a reason back. Raises ArgumentInvalid."""
    return check_text("reason", reason, settings.reason_chars_max)


def checked_targeting(attributes: Mapping[str, str]) -> Targeting:
    """The targeting that wants these attributes.

    Raises:
        ArgumentInvalid: A text cannot be stored.
        TargetingInvalid: There are too many, one has no name, or one is too long.
    """
    for text in (*attributes, *attributes.values()):
        check_storable("attributes", text)
    return Targeting.from_json({"attributes": dict(attributes)})
