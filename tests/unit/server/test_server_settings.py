from pathlib import Path

import pytest

from cloud.server.errors import SettingsInvalid
from cloud.server.settings import read_settings


def write(folder: Path, text: str) -> Path:
    file = folder / "cloud.toml"
    file.write_text(text)
    return file


def test_a_flag_is_over_a_variable_is_over_the_file_is_over_the_default(tmp_path: Path) -> None:
    file = write(tmp_path, 'rest_port = 1\nadmin_grpc_port = 1\ndrain_ms = 1\nhost = "0.0.0.0"')
    variables = {"SHOAL_CLOUD_REST_PORT": "2", "SHOAL_CLOUD_ADMIN_GRPC_PORT": "2"}
    flags = {"home": tmp_path, "rest_port": 3, "host": None}
    settings = read_settings(flags, variables, file)
    assert (settings.rest_port, settings.admin_grpc_port, settings.drain_ms) == (3, 2, 1)
    assert (settings.host, settings.device_grpc_port) == ("0.0.0.0", 0)


def test_each_type_is_read_from_a_variable(tmp_path: Path) -> None:
    settings = read_settings(
        {},
        {
            "SHOAL_CLOUD_HOME": str(tmp_path),
            "SHOAL_CLOUD_MIGRATE": "off",
            "SHOAL_CLOUD_NAMESPACES": "a/b, c/d",
            "OTHER": "x",
        },
    )
    assert (settings.home, settings.migrate) == (tmp_path, False)
    assert settings.namespaces == ("a/b", "c/d")


def test_a_list_in_the_file_is_read(tmp_path: Path) -> None:
    file = write(tmp_path, 'namespaces = ["a/b"]\nmigrate = false')
    assert read_settings({"home": tmp_path}, {}, file).namespaces == ("a/b",)


@pytest.mark.parametrize(
    ("text", "variables", "said"),
    [
        ("rest_prt = 1", {}, "rest_prt is no setting"),
        ('rest_port = "1"', {}, "not a int"),
        ("rest_port = true", {}, "not a int"),
        ("migrate = 1", {}, "not a bool"),
        ("rest_port = ", {}, "is not TOML"),
        ("rest_port = 65536", {}, "0 to 65535"),
        ("drain_ms = 0", {}, "drain_ms"),
        ('log_level = "loud"', {}, "loud"),
        ("", {"SHOAL_CLOUD_PORT": "1"}, "SHOAL_CLOUD_PORT is no setting"),
        ("", {"SHOAL_CLOUD_REST_PORT": "x"}, "SHOAL_CLOUD_REST_PORT"),
        ("", {"SHOAL_CLOUD_MIGRATE": "maybe"}, "true or false"),
    ],
)
def test_what_is_wrong_is_named(
    tmp_path: Path, text: str, variables: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        read_settings({"home": tmp_path}, variables, write(tmp_path, text))


def test_a_home_is_needed_and_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="--home"):
        read_settings({}, {})
    with pytest.raises(SettingsInvalid, match="cannot read"):
        read_settings({"home": tmp_path}, {}, tmp_path / "nothing.toml")
