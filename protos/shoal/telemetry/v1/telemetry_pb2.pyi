from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReportKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPORT_KIND_UNSPECIFIED: _ClassVar[ReportKind]
    REPORT_KIND_EMIT: _ClassVar[ReportKind]
    REPORT_KIND_RUN: _ClassVar[ReportKind]
    REPORT_KIND_NOTICE: _ClassVar[ReportKind]
REPORT_KIND_UNSPECIFIED: ReportKind
REPORT_KIND_EMIT: ReportKind
REPORT_KIND_RUN: ReportKind
REPORT_KIND_NOTICE: ReportKind

class Report(_message.Message):
    __slots__ = ("sequence", "kind", "task", "version", "topic", "event_uid", "at_ms", "payload")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    EVENT_UID_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    kind: ReportKind
    task: str
    version: int
    topic: str
    event_uid: bytes
    at_ms: int
    payload: bytes
    def __init__(self, sequence: _Optional[int] = ..., kind: _Optional[_Union[ReportKind, str]] = ..., task: _Optional[str] = ..., version: _Optional[int] = ..., topic: _Optional[str] = ..., event_uid: _Optional[bytes] = ..., at_ms: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class RunSummary(_message.Message):
    __slots__ = ("outcome", "wall_us", "message")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    WALL_US_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    outcome: str
    wall_us: int
    message: str
    def __init__(self, outcome: _Optional[str] = ..., wall_us: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class AgentNotice(_message.Message):
    __slots__ = ("code", "message")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class TunnelRequest(_message.Message):
    __slots__ = ("boot", "reports", "received_reply_ids")
    BOOT_FIELD_NUMBER: _ClassVar[int]
    REPORTS_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_REPLY_IDS_FIELD_NUMBER: _ClassVar[int]
    boot: bytes
    reports: _containers.RepeatedCompositeFieldContainer[Report]
    received_reply_ids: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, boot: _Optional[bytes] = ..., reports: _Optional[_Iterable[_Union[Report, _Mapping]]] = ..., received_reply_ids: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("reply_id", "task", "event_id", "cause_uid", "payload")
    REPLY_ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    CAUSE_UID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    reply_id: bytes
    task: str
    event_id: int
    cause_uid: bytes
    payload: bytes
    def __init__(self, reply_id: _Optional[bytes] = ..., task: _Optional[str] = ..., event_id: _Optional[int] = ..., cause_uid: _Optional[bytes] = ..., payload: _Optional[bytes] = ...) -> None: ...

class TunnelResponse(_message.Message):
    __slots__ = ("acknowledged_sequence", "replies")
    ACKNOWLEDGED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REPLIES_FIELD_NUMBER: _ClassVar[int]
    acknowledged_sequence: int
    replies: _containers.RepeatedCompositeFieldContainer[Reply]
    def __init__(self, acknowledged_sequence: _Optional[int] = ..., replies: _Optional[_Iterable[_Union[Reply, _Mapping]]] = ...) -> None: ...
