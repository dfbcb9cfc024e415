import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReleaseState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RELEASE_STATE_UNSPECIFIED: _ClassVar[ReleaseState]
    RELEASE_STATE_DRAFT: _ClassVar[ReleaseState]
    RELEASE_STATE_RUNNING: _ClassVar[ReleaseState]
    RELEASE_STATE_PAUSED: _ClassVar[ReleaseState]
    RELEASE_STATE_COMPLETED: _ClassVar[ReleaseState]
    RELEASE_STATE_ABORTED: _ClassVar[ReleaseState]
    RELEASE_STATE_ROLLED_BACK: _ClassVar[ReleaseState]
    RELEASE_STATE_SUPERSEDED: _ClassVar[ReleaseState]

class ReleaseCommand(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RELEASE_COMMAND_UNSPECIFIED: _ClassVar[ReleaseCommand]
    RELEASE_COMMAND_START: _ClassVar[ReleaseCommand]
    RELEASE_COMMAND_PAUSE: _ClassVar[ReleaseCommand]
    RELEASE_COMMAND_RESUME: _ClassVar[ReleaseCommand]
    RELEASE_COMMAND_ABORT: _ClassVar[ReleaseCommand]
    RELEASE_COMMAND_PROMOTE: _ClassVar[ReleaseCommand]
    RELEASE_COMMAND_ROLL_BACK: _ClassVar[ReleaseCommand]
RELEASE_STATE_UNSPECIFIED: ReleaseState
RELEASE_STATE_DRAFT: ReleaseState
RELEASE_STATE_RUNNING: ReleaseState
RELEASE_STATE_PAUSED: ReleaseState
RELEASE_STATE_COMPLETED: ReleaseState
RELEASE_STATE_ABORTED: ReleaseState
RELEASE_STATE_ROLLED_BACK: ReleaseState
RELEASE_STATE_SUPERSEDED: ReleaseState
RELEASE_COMMAND_UNSPECIFIED: ReleaseCommand
RELEASE_COMMAND_START: ReleaseCommand
RELEASE_COMMAND_PAUSE: ReleaseCommand
RELEASE_COMMAND_RESUME: ReleaseCommand
RELEASE_COMMAND_ABORT: ReleaseCommand
RELEASE_COMMAND_PROMOTE: ReleaseCommand
RELEASE_COMMAND_ROLL_BACK: ReleaseCommand

class Task(_message.Message):
    __slots__ = ("name", "latest_version", "digest", "published_by", "published_at")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LATEST_VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_BY_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_AT_FIELD_NUMBER: _ClassVar[int]
    name: str
    latest_version: int
    digest: str
    published_by: str
    published_at: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., latest_version: _Optional[int] = ..., digest: _Optional[str] = ..., published_by: _Optional[str] = ..., published_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Targeting(_message.Message):
    __slots__ = ("attributes",)
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Stage(_message.Message):
    __slots__ = ("share_ppm", "promote_at_ppm")
    SHARE_PPM_FIELD_NUMBER: _ClassVar[int]
    PROMOTE_AT_PPM_FIELD_NUMBER: _ClassVar[int]
    share_ppm: int
    promote_at_ppm: int
    def __init__(self, share_ppm: _Optional[int] = ..., promote_at_ppm: _Optional[int] = ...) -> None: ...

class Coverage(_message.Message):
    __slots__ = ("targeted", "notified", "installed", "failed")
    TARGETED_FIELD_NUMBER: _ClassVar[int]
    NOTIFIED_FIELD_NUMBER: _ClassVar[int]
    INSTALLED_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    targeted: int
    notified: int
    installed: int
    failed: int
    def __init__(self, targeted: _Optional[int] = ..., notified: _Optional[int] = ..., installed: _Optional[int] = ..., failed: _Optional[int] = ...) -> None: ...

class Release(_message.Message):
    __slots__ = ("id", "task", "version", "state", "targeting", "stages", "stage_index", "coverage", "rollback_version", "created_at", "created_by", "revision")
    ID_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TARGETING_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    STAGE_INDEX_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_VERSION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    CREATED_BY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    id: str
    task: str
    version: int
    state: ReleaseState
    targeting: Targeting
    stages: _containers.RepeatedCompositeFieldContainer[Stage]
    stage_index: int
    coverage: Coverage
    rollback_version: int
    created_at: _timestamp_pb2.Timestamp
    created_by: str
    revision: int
    def __init__(self, id: _Optional[str] = ..., task: _Optional[str] = ..., version: _Optional[int] = ..., state: _Optional[_Union[ReleaseState, str]] = ..., targeting: _Optional[_Union[Targeting, _Mapping]] = ..., stages: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ..., stage_index: _Optional[int] = ..., coverage: _Optional[_Union[Coverage, _Mapping]] = ..., rollback_version: _Optional[int] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_by: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("id", "attributes", "last_seen_at", "epoch", "revoked")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_AT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    id: str
    attributes: _containers.ScalarMap[str, str]
    last_seen_at: _timestamp_pb2.Timestamp
    epoch: int
    revoked: bool
    def __init__(self, id: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ..., last_seen_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., epoch: _Optional[int] = ..., revoked: _Optional[bool] = ...) -> None: ...

class ListTasksRequest(_message.Message):
    __slots__ = ("namespace", "page_size", "page_token")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    page_size: int
    page_token: str
    def __init__(self, namespace: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListTasksResponse(_message.Message):
    __slots__ = ("tasks", "next_page_token")
    TASKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[Task]
    next_page_token: str
    def __init__(self, tasks: _Optional[_Iterable[_Union[Task, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CreateReleaseRequest(_message.Message):
    __slots__ = ("namespace", "task", "version", "targeting", "stages", "rollback_version", "start", "idempotency_key")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    TARGETING_FIELD_NUMBER: _ClassVar[int]
    STAGES_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_VERSION_FIELD_NUMBER: _ClassVar[int]
    START_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    task: str
    version: int
    targeting: Targeting
    stages: _containers.RepeatedCompositeFieldContainer[Stage]
    rollback_version: int
    start: bool
    idempotency_key: str
    def __init__(self, namespace: _Optional[str] = ..., task: _Optional[str] = ..., version: _Optional[int] = ..., targeting: _Optional[_Union[Targeting, _Mapping]] = ..., stages: _Optional[_Iterable[_Union[Stage, _Mapping]]] = ..., rollback_version: _Optional[int] = ..., start: _Optional[bool] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class CreateReleaseResponse(_message.Message):
    __slots__ = ("release",)
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    release: Release
    def __init__(self, release: _Optional[_Union[Release, _Mapping]] = ...) -> None: ...

class GetReleaseRequest(_message.Message):
    __slots__ = ("namespace", "release_id")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    release_id: str
    def __init__(self, namespace: _Optional[str] = ..., release_id: _Optional[str] = ...) -> None: ...

class GetReleaseResponse(_message.Message):
    __slots__ = ("release",)
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    release: Release
    def __init__(self, release: _Optional[_Union[Release, _Mapping]] = ...) -> None: ...

class ListReleasesRequest(_message.Message):
    __slots__ = ("namespace", "task", "page_size", "page_token")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    task: str
    page_size: int
    page_token: str
    def __init__(self, namespace: _Optional[str] = ..., task: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListReleasesResponse(_message.Message):
    __slots__ = ("releases", "next_page_token")
    RELEASES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    releases: _containers.RepeatedCompositeFieldContainer[Release]
    next_page_token: str
    def __init__(self, releases: _Optional[_Iterable[_Union[Release, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CommandReleaseRequest(_message.Message):
    __slots__ = ("namespace", "release_id", "command", "reason", "if_revision", "rollback_version")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    IF_REVISION_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_VERSION_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    release_id: str
    command: ReleaseCommand
    reason: str
    if_revision: int
    rollback_version: int
    def __init__(self, namespace: _Optional[str] = ..., release_id: _Optional[str] = ..., command: _Optional[_Union[ReleaseCommand, str]] = ..., reason: _Optional[str] = ..., if_revision: _Optional[int] = ..., rollback_version: _Optional[int] = ...) -> None: ...

class CommandReleaseResponse(_message.Message):
    __slots__ = ("release",)
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    release: Release
    def __init__(self, release: _Optional[_Union[Release, _Mapping]] = ...) -> None: ...

class ListDevicesRequest(_message.Message):
    __slots__ = ("namespace", "page_size", "page_token")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    page_size: int
    page_token: str
    def __init__(self, namespace: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListDevicesResponse(_message.Message):
    __slots__ = ("devices", "next_page_token")
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    devices: _containers.RepeatedCompositeFieldContainer[Device]
    next_page_token: str
    def __init__(self, devices: _Optional[_Iterable[_Union[Device, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class SetKillSwitchRequest(_message.Message):
    __slots__ = ("namespace", "task", "killed", "reason")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TASK_FIELD_NUMBER: _ClassVar[int]
    KILLED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    task: str
    killed: bool
    reason: str
    def __init__(self, namespace: _Optional[str] = ..., task: _Optional[str] = ..., killed: _Optional[bool] = ..., reason: _Optional[str] = ...) -> None: ...

class SetKillSwitchResponse(_message.Message):
    __slots__ = ("epoch",)
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    def __init__(self, epoch: _Optional[int] = ...) -> None: ...

class WatchReleaseRequest(_message.Message):
    __slots__ = ("namespace", "release_id")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    RELEASE_ID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    release_id: str
    def __init__(self, namespace: _Optional[str] = ..., release_id: _Optional[str] = ...) -> None: ...

class WatchReleaseResponse(_message.Message):
    __slots__ = ("release",)
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    release: Release
    def __init__(self, release: _Optional[_Union[Release, _Mapping]] = ...) -> None: ...
