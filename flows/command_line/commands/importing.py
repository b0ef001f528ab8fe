"""`uici import …`: desired state from what runs, or from a compose file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.command_line.commands.opening import load
from flows.command_line.commands.options import ERROR, ConfigOption
from flows.command_line.commands.parsing import Taught
from flows.command_line.terminal import complain, print_json

if TYPE_CHECKING:
    from flows.command_line.import_files import Imported, Written
    from infrastructure.config_loader import UniversalConfig

import_app = typer.Typer(
    name="import",
    help="Write desired-state files from what runs, or from a file.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Environment = Annotated[
    str | None,
    typer.Option(
        "--environment", "-e", metavar="NAME", help="Where it runs, if there are several."
    ),
]
_Output = Annotated[
    Path,
    typer.Option("--output", "-o", metavar="DIR", help="Folder for the files (default: here)."),
]
_Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
_Names = Annotated[list[str] | None, typer.Argument(help="Only these services (default: all).")]
_HERE = Path()


@import_app.command("docker", cls=Taught)
def docker(
    names: _Names = None,
    *,
    environment: _Environment = None,
    output: _Output = _HERE,
    force: _Force = False,
    config: ConfigOption = None,
    as_json: _Json = False,
) -> None:
    """The containers that run on a Docker Engine, one file a service.

    Exit code 0: written, 1: not.
    """
    from flows.command_line.import_docker import import_docker  # noqa: PLC0415 - see flows.cli

    loaded = load(config, stateless=True)
    _import(
        lambda wanted: import_docker(
            loaded, _noting_the_host(loaded, wanted), _identity(loaded), names=names or ()
        ),
        loaded,
        of_type="docker",
        environment=environment,
        folder=output,
        force=force,
        as_json=as_json,
    )


@import_app.command("compose", cls=Taught)
def compose(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A compose file.")],
    *,
    project: Annotated[
        str | None,
        typer.Option("--project", "-p", metavar="NAME", help="Project name, as compose's -p."),
    ] = None,
    environment: _Environment = None,
    output: _Output = _HERE,
    force: _Force = False,
    config: ConfigOption = None,
    as_json: _Json = False,
) -> None:
    """The services of a compose file, one file each.

    Exit code 0: written, 1: not.
    """
    from flows.command_line.import_compose import import_compose  # noqa: PLC0415 - see flows.cli

    loaded = load(config, stateless=True, quiet=True)
    limit = loaded.platform.git.max_file_bytes
    _import(
        lambda wanted: import_compose(file, wanted, max_bytes=limit, project=project),
        loaded,
        of_type="docker",
        environment=environment,
        folder=output,
        force=force,
        as_json=as_json,
    )


@import_app.command("kubernetes", cls=Taught)
def kubernetes(
    names: _Names = None,
    *,
    environment: _Environment = None,
    output: _Output = _HERE,
    force: _Force = False,
    config: ConfigOption = None,
    as_json: _Json = False,
) -> None:
    """The workloads of a Kubernetes environment's namespaces, one file each.

    Exit code 0: written, 1: not.
    """
    from flows.command_line.import_kubernetes import (  # noqa: PLC0415 - see flows.cli
        import_kubernetes,
    )

    loaded = load(config, stateless=True)
    _import(
        lambda wanted: import_kubernetes(loaded, wanted, _identity(loaded), names=names or ()),
        loaded,
        of_type="kubernetes",
        environment=environment,
        folder=output,
        force=force,
        as_json=as_json,
    )


def _noting_the_host(config: UniversalConfig, environment: str) -> str:
    """The environment; `docker` would ask another engine than it names."""
    asked = config.environments.environments[environment].connection.get("host", "")
    named = os.environ.get("DOCKER_HOST", "")
    if named and named != asked:
        complain(
            f"note: {environment} is {asked}, by environments.yml; DOCKER_HOST ({named}) is not"
            " looked at"
        )
    return environment


def _import(
    find: Callable[[str], Imported],
    config: UniversalConfig,
    *,
    of_type: str,
    environment: str | None,
    folder: Path,
    force: bool,
    as_json: bool,
) -> None:
    """Find what there is in an environment, write it, and say what was written."""
    from flows.command_line.import_files import the_environment  # noqa: PLC0415 - see flows.cli

    wanted = the_environment(config, environment, of_type)
    with _discreet(config):
        _finish(find(wanted), config, folder, force=force, as_json=as_json)


@contextmanager
def _discreet(config: UniversalConfig) -> Iterator[None]:
    """What is said of a file or an engine that can't be imported may quote a secret of it."""
    from infrastructure.errors import (  # noqa: PLC0415 - see flows.cli
        InvalidInputError,
        PermanentError,
        Problem,
        UiciError,
    )

    try:
        yield
    except InvalidInputError as exc:
        redact = config.redactor().text
        raise InvalidInputError(
            Problem(redact(p.file), p.line, p.column, redact(p.message), redact(p.remedy))
            for p in exc.problems
        ) from None
    except UiciError as exc:
        exc.args = (config.redactor().text(str(exc)),)
        raise
    except OSError as exc:  # a folder to write to that no file system can have
        why = exc.strerror or str(exc)
        raise PermanentError(f"{exc.filename or 'the import'} can't be used: {why}") from exc


def _identity(config: UniversalConfig) -> Any:
    from infrastructure.config_loader import agent_identity  # noqa: PLC0415 - see flows.cli
    from infrastructure.identity import (  # noqa: PLC0415 - as above
        runtime_native_ids,
        with_runtime,
    )

    return with_runtime(agent_identity(config), runtime_native_ids())


def _finish(
    found: Imported, config: UniversalConfig, folder: Path, *, force: bool, as_json: bool
) -> None:
    from flows.command_line.import_files import write  # noqa: PLC0415 - see flows.cli
    from infrastructure.errors import PermanentError  # noqa: PLC0415 - as above

    written = write(found, config, folder, force=force)
    redact = config.redactor().text
    nothing = "" if written.files else _NOTHING
    if as_json:
        print_json(config.redactor().data(_as_data(written, found.environment, nothing)))
    else:
        for sentence in written.left_out:
            complain(f"left out: {redact(sentence)}")
        for path in written.files:
            print(path)  # noqa: T201 - a command line speaks
    if nothing and not as_json:
        raise PermanentError(nothing)
    if nothing:  # stdout has its one document
        complain(f"error: {nothing}")
        raise typer.Exit(ERROR)


_NOTHING = "nothing was imported: there is nothing that a service can be made of"


def _as_data(written: Written, environment: str, error: str) -> dict[str, Any]:
    return {
        "apiVersion": "uici/v1",
        "kind": "Import",
        "environment": environment,
        "files": [str(path) for path in written.files],
        "leftOut": [*written.left_out, *written.comments],
        **({"errors": [error]} if error else {}),
    }
