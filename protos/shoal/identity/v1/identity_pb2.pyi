from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class TaskVersion(_message.Message):
    __slots__ = ("task", "version", "digest")
    TASK_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    task: str
    version: int
    digest: str
    def __init__(self, task: _Optional[str] = ..., version: _Optional[int] = ..., digest: _Optional[str] = ...) -> None: ...

class DeviceFacts(_message.Message):
    __slots__ = ("agent_version", "guest_api", "op_set", "python_tag", "cpu_features", "os", "os_version", "app_version", "attributes")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    GUEST_API_FIELD_NUMBER: _ClassVar[int]
    OP_SET_FIELD_NUMBER: _ClassVar[int]
    PYTHON_TAG_FIELD_NUMBER: _ClassVar[int]
    CPU_FEATURES_FIELD_NUMBER: _ClassVar[int]
    OS_FIELD_NUMBER: _ClassVar[int]
    OS_VERSION_FIELD_NUMBER: _ClassVar[int]
    APP_VERSION_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    agent_version: str
    guest_api: int
    op_set: int
    python_tag: str
    cpu_features: _containers.RepeatedScalarFieldContainer[str]
    os: str
    os_version: str
    app_version: str
    attributes: _containers.ScalarMap[str, str]
    def __init__(self, agent_version: _Optional[str] = ..., guest_api: _Optional[int] = ..., op_set: _Optional[int] = ..., python_tag: _Optional[str] = ..., cpu_features: _Optional[_Iterable[str]] = ..., os: _Optional[str] = ..., os_version: _Optional[str] = ..., app_version: _Optional[str] = ..., attributes: _Optional[_Mapping[str, str]] = ...) -> None: ...
