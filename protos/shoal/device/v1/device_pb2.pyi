from shoal.identity.v1 import identity_pb2 as _identity_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TaskState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TASK_STATE_UNSPECIFIED: _ClassVar[TaskState]
    TASK_STATE_PENDING: _ClassVar[TaskState]
    TASK_STATE_INSTALLED: _ClassVar[TaskState]
    TASK_STATE_FAILED: _ClassVar[TaskState]
    TASK_STATE_QUARANTINED: _ClassVar[TaskState]
    TASK_STATE_KILLED: _ClassVar[TaskState]

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_NOTIFIED: _ClassVar[Outcome]
    OUTCOME_INSTALLED: _ClassVar[Outcome]
    OUTCOME_REMOVED: _ClassVar[Outcome]
    OUTCOME_FAILED: _ClassVar[Outcome]
    OUTCOME_ROLLED_BACK: _ClassVar[Outcome]
    OUTCOME_DEFERRED: _ClassVar[Outcome]
TASK_STATE_UNSPECIFIED: TaskState
TASK_STATE_PENDING: TaskState
TASK_STATE_INSTALLED: TaskState
TASK_STATE_FAILED: TaskState
TASK_STATE_QUARANTINED: TaskState
TASK_STATE_KILLED: TaskState
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_NOTIFIED: Outcome
OUTCOME_INSTALLED: Outcome
OUTCOME_REMOVED: Outcome
OUTCOME_FAILED: Outcome
OUTCOME_ROLLED_BACK: Outcome
OUTCOME_DEFERRED: Outcome

class InstalledTask(_message.Message):
    __slots__ = ("version", "state")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    version: _identity_pb2.TaskVersion
    state: TaskState
    def __init__(self, version: _Optional[_Union[_identity_pb2.TaskVersion, _Mapping]] = ..., state: _Optional[_Union[TaskState, str]] = ...) -> None: ...

class Acknowledgement(_message.Message):
    __slots__ = ("boot", "sequence", "version", "release_id", "outcome", "error_code", "at_ms", "traceparent")
    BOOT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    boot: bytes
    sequence: int
    version: _identity_pb2.TaskVersion
    release_id: str
    outcome: Outcome
    error_code: str
    at_ms: int
    traceparent: str
    def __init__(self, boot: _Optional[bytes] = ..., sequence: _Optional[int] = ..., version: _Optional[_Union[_identity_pb2.TaskVersion, _Mapping]] = ..., release_id: _Optional[str] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., error_code: _Optional[str] = ..., at_ms: _Optional[int] = ..., traceparent: _Optional[str] = ...) -> None: ...

class SyncRequest(_message.Message):
    __slots__ = ("epoch", "installed", "acknowledgements", "facts", "device_time_ms", "session", "session_sync")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    INSTALLED_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGEMENTS_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SESSION_SYNC_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    installed: _containers.RepeatedCompositeFieldContainer[InstalledTask]
    acknowledgements: _containers.RepeatedCompositeFieldContainer[Acknowledgement]
    facts: _identity_pb2.DeviceFacts
    device_time_ms: int
    session: bytes
    session_sync: int
    def __init__(self, epoch: _Optional[int] = ..., installed: _Optional[_Iterable[_Union[InstalledTask, _Mapping]]] = ..., acknowledgements: _Optional[_Iterable[_Union[Acknowledgement, _Mapping]]] = ..., facts: _Optional[_Union[_identity_pb2.DeviceFacts, _Mapping]] = ..., device_time_ms: _Optional[int] = ..., session: _Optional[bytes] = ..., session_sync: _Optional[int] = ...) -> None: ...

class SyncResponse(_message.Message):
    __slots__ = ("epoch", "next_sync_after_ms", "director", "retry", "server_time_ms", "acknowledged_sequence")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NEXT_SYNC_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    DIRECTOR_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    next_sync_after_ms: int
    director: bytes
    retry: bool
    server_time_ms: int
    acknowledged_sequence: int
    def __init__(self, epoch: _Optional[int] = ..., next_sync_after_ms: _Optional[int] = ..., director: _Optional[bytes] = ..., retry: _Optional[bool] = ..., server_time_ms: _Optional[int] = ..., acknowledged_sequence: _Optional[int] = ...) -> None: ...

class GetTicketRequest(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: str
    def __init__(self, digest: _Optional[str] = ...) -> None: ...

class GetTicketResponse(_message.Message):
    __slots__ = ("ticket", "expires_at_ms")
    TICKET_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    ticket: str
    expires_at_ms: int
    def __init__(self, ticket: _Optional[str] = ..., expires_at_ms: _Optional[int] = ...) -> None: ...
