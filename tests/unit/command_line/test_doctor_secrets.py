"""What `uici doctor` says of secrets that desired state refers to."""

from __future__ import annotations

from flows.command_line.doctor_secrets import secret_findings
from flows.command_line.finding import Finding, Level
from infrastructure.secret_references import SecretResolver
from infrastructure.service import Service
from tests.builders import service


def told(*services: Service, **environ: str) -> list[Finding]:
    return list(secret_findings(services, SecretResolver(environ)))


def needing(name: str, reference: str) -> Service:
    return service(name, env={"KEY": {"secret": reference}, "LEVEL": "info"})


def test_each_secret_that_is_not_there_is_told_with_those_that_need_it() -> None:
    (found,) = told(needing("api", "env:A"), needing("web", "env:A"), needing("db", "env:B"), B="x")
    assert found.level is Level.WARNING
    assert found.detail.startswith("the secret env:A is not there: set the environment variable A")
    assert "KEY of local-docker/api, KEY of local-docker/web" in found.detail
    assert "db" not in found.detail


def test_many_that_need_it_are_counted() -> None:
    (found,) = told(*(needing(f"api{n}", "file:/nowhere/x") for n in range(5)))
    assert "KEY of local-docker/api2 and 2 more" in found.detail
    assert "can't be read: No such file or directory" in found.detail


def test_where_all_are_there_it_is_one_line_and_without_any_none() -> None:
    (found,) = told(needing("api", "env:A"), A="x")
    assert (found.level, found.detail) == (Level.OK, "1 reference resolved")
    assert told(service("api")) == []
