"""What came of every digit, as the cloud heard it.

Rules of this module:

- A digit's uid says which digit of the test fold it is and in which round it was fed: nothing is looked up.
- The set of uids that were fed must equal the set that was answered, once each: `lost` and `repeated` are counted.
"""

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from docs.examples.digits.measure import Reading
from docs.examples.digits.v1 import wire

_UID = struct.Struct("<4sIII")
_MAGIC = b"DEMO"


def uid_of(round_number: int, device: int, digit: int) -> bytes:
    """Uid of a digit of the test fold that is fed to a device in a round."""
    return _UID.pack(_MAGIC, round_number, device, digit)


def digit_of(uid: bytes) -> int:
    """Index in the test fold."""
    return int(_UID.unpack(uid)[3])


@dataclass(slots=True)
class Answer:
    """An answer that the cloud heard, and from which side."""

    label: int
    from_cloud: bool


@dataclass(slots=True)
class Scoreboard:
    """Counts what was fed, escalated and answered."""

    labels: Sequence[int]
    fed: set[bytes] = field(default_factory=set)
    answers: dict[bytes, Answer] = field(default_factory=dict)
    answered: Counter[bytes] = field(default_factory=Counter)
    device_labels: dict[bytes, int] = field(default_factory=dict)
    # The version that read the digit: the one that passes the cloud's answer on may be a newer one.
    readers: dict[bytes, int] = field(default_factory=dict)

    def hear_answer(self, payload: bytes, version: int) -> None:
        """Takes a record of the topic "answer"."""
        uid, label, source, _ = wire.decode_answer(payload)
        self.answered[uid] += 1
        self.answers.setdefault(uid, Answer(label, source == wire.FROM_CLOUD))
        if source == wire.FROM_DEVICE:
            self.device_labels[uid] = label
            self.readers[uid] = version

    def hear_escalation(self, payload: bytes, version: int) -> None:
        """Takes a record of the topic "escalate": what the device would have said."""
        uid, label, _, _ = wire.decode_escalation(payload)
        self.device_labels[uid] = label
        self.readers[uid] = version

    @property
    def waiting(self) -> int:
        """Digits that were fed and not answered yet."""
        return len(self.fed - self.answers.keys())

    @property
    def lost(self) -> int:
        """Digits that were fed and never answered; asked at the end."""
        return self.waiting

    @property
    def repeated(self) -> int:
        """Answers beyond the first of a digit, and answers to digits that nobody fed."""
        extra = sum(count - 1 for count in self.answered.values())
        return extra + len(self.answers.keys() - self.fed)

    @property
    def escalated(self) -> int:
        """Digits that the cloud read."""
        return sum(answer.from_cloud for answer in self.answers.values())

    def readings(self, version: int | None = None) -> list[Reading]:
        """Every answered digit, or those that one version of the task read."""
        return [
            Reading(
                truth=int(self.labels[digit_of(uid)]),
                device=self.device_labels[uid],
                cloud=answer.label if answer.from_cloud else None,
            )
            for uid, answer in self.answers.items()
            if uid in self.readers and version in (None, self.readers[uid])
        ]
