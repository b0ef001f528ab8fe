"""`uici rbac`: the Kubernetes manifest that grants the agent what it needs, and no more."""

from __future__ import annotations

import sys
from collections.abc import Iterable

import yaml

from executors.kubernetes import Connection, permissions
from executors.kubernetes.binding import kinds_of
from executors.translator import CommandTranslator
from flows.command_line.desired import desired_state, those_in
from infrastructure.config_loader import UniversalConfig
from infrastructure.errors import PermanentError, UiciError
from infrastructure.service import Service

_EXECUTOR = "kubernetes"


def manifest(
    config: UniversalConfig, environment: str, account: str, services: Iterable[Service] = ()
) -> str:
    """YAML documents for `kubectl apply`.

    Args:
        config: its operations and translations say what is enabled.
        environment: whose `connection` says where.
        account: `namespace/name` of the agent's service account.
        services: of desired state. The kinds that those of the environment are bound to, and
            the connection's own (`kinds`), are what rights are granted on.

    Raises:
        PermanentError: the environment is no Kubernetes cluster, or the account is no such name.
    """
    executor = config.get_environment(environment).executor
    if executor != _EXECUTOR:
        raise PermanentError(f"{environment} has the executor {executor}: RBAC is of Kubernetes")
    namespace, slash, name = account.partition("/")
    if not (namespace and slash and name):
        raise PermanentError(f"{account} is no service account: write NAMESPACE/NAME")
    connection = config.connection(environment, Connection)
    enabled = CommandTranslator(config.translations).primitives(executor)
    rights = permissions.needed(
        enabled, kinds_of(connection.kinds, those_in(environment, services))
    )
    objects = permissions.manifest(
        rights,
        name=f"{connection.field_manager}-{environment}",
        namespaces=connection.namespaces,
        cluster_wide=connection.cluster_wide,
        account=(namespace, name),
    )
    text: str = yaml.safe_dump_all(objects, sort_keys=False, explicit_start=True)
    return text


def show(config: UniversalConfig, environment: str, account: str) -> None:
    """Print the manifest for the kinds that desired state uses now.

    Raises:
        PermanentError: as `manifest`.
    """
    services: Iterable[Service] = ()
    try:
        services = desired_state(config).services.values()
    except UiciError as exc:
        said = config.redactor().text(str(exc))
        print(  # noqa: T201 - a command line speaks
            f"rights for `connection.kinds` only: desired state can't be read: {said}",
            file=sys.stderr,
        )
    print(manifest(config, environment, account, services), end="")  # noqa: T201 - as above
