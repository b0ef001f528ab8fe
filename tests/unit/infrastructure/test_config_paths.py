"""Files that environments.yml names are found wherever the process runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from executors.docker.sdk import Connection
from infrastructure.config_loader import UniversalConfigLoader
from tests.unit.infrastructure.config_folder import SHIPPED, ConfigFolder

TLS = "out: 5s, tls: {caFile: tls/ca.pem, certFile: tls/c.pem, keyFile: tls/k.pem}}"


@pytest.fixture
def folder(tmp_path: Path) -> ConfigFolder:
    made = ConfigFolder.make(tmp_path)
    (made.directory / "tls").mkdir()
    for name in ("ca.pem", "c.pem", "k.pem"):
        (made.directory / "tls" / name).touch()
    return made


def test_relative_tls_files_start_at_the_configuration_folder(
    folder: ConfigFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.replace("environments", "out: 5s}", TLS)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    (source,) = folder.load().get_environment("local-docker").prometheus
    assert source.tls is not None
    for file in (source.tls.ca_file, source.tls.cert_file, source.tls.key_file):
        assert file is not None
        assert Path(file).is_file()


def test_a_relative_configuration_folder_does_too(
    folder: ConfigFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.replace("environments", "out: 5s}", TLS)
    monkeypatch.chdir(tmp_path)
    relative = folder.directory.relative_to(tmp_path)
    config = UniversalConfigLoader(relative, {"HOME": str(folder.home)}).load()
    monkeypatch.chdir("/")
    (source,) = config.get_environment("local-docker").prometheus
    assert source.tls is not None
    assert Path(str(source.tls.ca_file)) == folder.directory / "tls" / "ca.pem"


def test_the_files_of_a_connection_start_there_too(folder: ConfigFolder) -> None:
    folder.replace(
        "environments",
        "host: unix:///var/run/docker.sock",
        "host: tcp://engine:2376\n      tls: {caFile: tls/ca.pem, certFile: /etc/c.pem}",
    )
    connection = folder.load().connection("local-docker", Connection)
    assert connection.host == "tcp://engine:2376"
    assert connection.tls is not None
    assert connection.tls.ca_file == str(folder.directory / "tls" / "ca.pem")
    assert connection.tls.cert_file == "/etc/c.pem"


def test_home_is_home(
    folder: ConfigFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "ca.pem").touch()
    folder.replace("environments", "out: 5s}", "out: 5s, tls: {caFile: ~/ca.pem}}")
    (source,) = folder.load().get_environment("local-docker").prometheus
    assert source.tls is not None
    assert source.tls.ca_file == str(tmp_path / "ca.pem")


def test_what_names_no_file_is_left_as_it_is() -> None:
    config = UniversalConfigLoader(SHIPPED).load()
    assert config.get_environment("local-docker").connection == {
        "host": "unix:///var/run/docker.sock"
    }
