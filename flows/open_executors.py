"""Executors from configuration: which module, with which connection. Contacts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from pydantic import BaseModel, ValidationError

from executors.contract import (
    Claims,
    Executor,
    ExecutorContext,
    Misfits,
    load_claims,
    load_executor_module,
    load_misfits,
)
from infrastructure.config_loader import UniversalConfig
from infrastructure.desired_state import DesiredStateParser
from infrastructure.errors import InvalidInputError, PermanentError, Problem
from infrastructure.identity import AgentIdentity
from infrastructure.secret_references import SecretResolver
from infrastructure.service import Service
from infrastructure.state_rules import FindClaims


def binding_models(config: UniversalConfig) -> dict[str, type[BaseModel]]:
    """Environment → what `spec.binding` of its services has to fit. Imports no SDK.

    An executor that does not exist is told by `open_executors`.
    """
    found: dict[str, type[BaseModel]] = {}
    for name, environment in config.environments.environments.items():
        with suppress(PermanentError):
            found[name] = load_executor_module(environment.executor).Binding
    return found


def binding_misfits(config: UniversalConfig) -> dict[str, Misfits]:
    """Environment → what finds words of desired state that a binding there has no meaning for."""
    found: dict[str, Misfits] = {}
    for name, environment in config.environments.environments.items():
        with suppress(PermanentError):
            misfits = load_misfits(environment.executor)
            if misfits is not None:
                found[name] = misfits
    return found


def binding_claims(config: UniversalConfig) -> dict[str, FindClaims]:
    """Environment → what tells which native objects a service is bound to. Imports no SDK.

    A connection that is wrong is told by `open_executors`.
    """
    found: dict[str, FindClaims] = {}
    for name, environment in config.environments.environments.items():
        with suppress(PermanentError, InvalidInputError):
            claims = load_claims(environment.executor)
            if claims is not None:
                model = load_executor_module(environment.executor).Connection
                found[name] = _claims_of(claims, config.connection(name, model))
    return found


def _claims_of(claims: Claims, connection: BaseModel) -> FindClaims:
    def find(service: Service) -> Sequence[str]:
        try:
            return claims(service, connection)
        except (PermanentError, ValidationError):  # the binding's own mistake, told as such
            return ()

    return find


def desired_state_parser(config: UniversalConfig, identity: AgentIdentity) -> DesiredStateParser:
    """A parser that knows what every environment's executor takes. Imports no SDK."""
    return DesiredStateParser.from_config(
        config,
        identity,
        binding_models(config),
        binding_misfits(config),
        binding_claims(config),
    )


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
