"""`uici rbac`: the Kubernetes manifest that grants the agent what it needs, and no more."""

from __future__ import annotations

import yaml

from executors.kubernetes import Connection, permissions
from executors.translator import CommandTranslator
from infrastructure.config_loader import UniversalConfig
from infrastructure.errors import PermanentError

_EXECUTOR = "kubernetes"


def manifest(config: UniversalConfig, environment: str, account: str) -> str:
    """YAML documents for `kubectl apply`.

    Args:
        config: its operations and translations say what is enabled.
        environment: whose `connection` says where, and on which kinds.
        account: `namespace/name` of the agent's service account.

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
    rights = permissions.needed(enabled, connection.kinds)
    objects = permissions.manifest(
        rights,
        name=f"{connection.field_manager}-{environment}",
        namespaces=connection.namespaces,
        cluster_wide=connection.cluster_wide,
        account=(namespace, name),
    )
    text: str = yaml.safe_dump_all(objects, sort_keys=False, explicit_start=True)
    return text
