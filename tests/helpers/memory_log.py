"""A sink of events that keeps them in memory."""

from collections.abc import Sequence

from shoal_task.event import Event

from device_agent.events.frames import FeedAnswer, FeedStatus

ACCEPTED = FeedAnswer(status=FeedStatus.ACCEPTED)


class MemoryLog:
    """A sink that keeps events in memory and refuses past `room`."""

    def __init__(self, room: int = 10_000) -> None:
        self.events: dict[bytes, Event] = {}
        self.room = room

    def feed(self, events: Sequence[Event]) -> list[FeedAnswer]:
        answers = []
        for event in events:
            if event.uid in self.events:
                answers.append(FeedAnswer(status=FeedStatus.DUPLICATE))
            elif len(self.events) >= self.room:
                answers.append(FeedAnswer(status=FeedStatus.REFUSED, code="EVENT_LOG_FULL"))
            else:
                self.events[event.uid] = event
                answers.append(ACCEPTED)
        return answers
