"""Executors from configuration: which module, with which connection. Contacts nothing."""

from __future__ import annotations

from executors.contract import Executor, ExecutorContext, load_executor_module
from infrastructure.config_loader import UniversalConfig
from infrastructure.errors import InvalidInputError, PermanentError, Problem
from infrastructure.identity import AgentIdentity
from infrastructure.secret_references import SecretResolver


def open_executors(
    config: UniversalConfig, identity: AgentIdentity, secrets: SecretResolver
) -> dict[str, Executor]:
    """An executor for every environment; nothing is contacted yet.

    Raises:
        InvalidInputError: every connection that its executor does not accept.
    """
    executors: dict[str, Executor] = {}
    problems: list[Problem] = []
    file = str(config.directory / "environments.yml")
    for name, environment in config.environments.environments.items():
        try:
            module = load_executor_module(environment.executor)
            connection = config.connection(name, module.Connection)
        except InvalidInputError as exc:
            problems += exc.problems
            continue
        except PermanentError as exc:
            problems.append(Problem(file, 0, 0, f"environments.{name}.executor: {exc}"))
            continue
        context = ExecutorContext(
            environment=name,
            concurrency=environment.concurrency,
            identity=identity,
            resolve_secret=secrets.resolve,
        )
        executors[name] = module.connect(connection, context)
    if problems:
        raise InvalidInputError(problems)
    return executors
