"""Files that environments.yml names: relative paths start at the configuration folder.

`~` is the home directory. Done once, when the configuration is loaded, so that whoever
opens such a file later need not know where the process happens to run. Neighbour:
`infrastructure.config_loader`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infrastructure.config_models import Environment, Environments, HttpSource, Tls

# Keys of `connection` that name a file, in every executor's words (so does every `…File`).
_FILE_KEYS = frozenset({"file", "kubeconfig"})


def anchored(environments: Environments, directory: Path) -> Environments:
    """The same environments with absolute paths.

    Args:
        environments: as written.
        directory: the folder that environments.yml stands in.
    """
    return environments.model_copy(
        update={
            "environments": {
                name: _environment(environment, directory)
                for name, environment in environments.environments.items()
            }
        }
    )


def absolute(file: str, directory: Path) -> str:
    """The path that a file's text means."""
    return str((directory / Path(file).expanduser()).absolute())


def _environment(environment: Environment, directory: Path) -> Environment:
    return environment.model_copy(
        update={
            "connection": _connection(environment.connection, directory),
            "prometheus": tuple(_source(s, directory) for s in environment.prometheus),
            "alertmanager": tuple(_source(s, directory) for s in environment.alertmanager),
        }
    )


def _source(source: HttpSource, directory: Path) -> HttpSource:
    if source.tls is None:
        return source
    return source.model_copy(update={"tls": _tls(source.tls, directory)})


def _tls(tls: Tls, directory: Path) -> Tls:
    files = {"ca_file": tls.ca_file, "cert_file": tls.cert_file, "key_file": tls.key_file}
    return tls.model_copy(
        update={name: absolute(file, directory) for name, file in files.items() if file is not None}
    )


def _connection(value: Any, directory: Path) -> Any:
    if isinstance(value, Mapping):
        return {
            key: absolute(item, directory)
            if isinstance(item, str) and _names_file(key)
            else _connection(item, directory)
            for key, item in value.items()
        }
    return [_connection(item, directory) for item in value] if isinstance(value, list) else value


def _names_file(key: Any) -> bool:
    return isinstance(key, str) and (key in _FILE_KEYS or key.endswith("File"))
