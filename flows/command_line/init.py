"""`uici init FOLDER`: a configuration and a state repository for what is found on this machine.

It only looks, and writes into a new folder: a copy of the shipped configuration that fits the
machine, a state repository with what runs now as desired state, and a clone of it to work in.
It begins in the mode `observe`, in which nothing is changed.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from ruamel.yaml import YAML

from flows.command_line.import_docker import import_docker
from flows.command_line.import_files import Imported, the_environment, write
from flows.command_line.terminal import printable
from flows.local_stack.child import find_program
from flows.local_stack.remote import bare_remote
from flows.reporting.text import count
from infrastructure.config_loader import (
    DEFAULT_DIRECTORY,
    UniversalConfig,
    UniversalConfigLoader,
    agent_identity,
)
from infrastructure.errors import PermanentError, UiciError
from infrastructure.identity import runtime_native_ids, with_runtime
from infrastructure.service import Mode

_README = """# Desired state

A file for each service, as it should be: `uici validate .` checks them all.
What runs already is written by `uici import docker`, `compose FILE` or `kubernetes`.
"""

_EXAMPLE = """# yaml-language-server: $schema=service.schema.json
# An example, suspended: nothing is done about it. Make it yours.
apiVersion: uici/v1
kind: Service
metadata: {name: example, environment: local-docker}
spec:
  image: example:1.0.0
  replicas: 1
  suspend: {reason: an example that uici init wrote}
"""


@dataclass(frozen=True, slots=True)
class Around:
    """What there is on the machine. An empty text: nothing answers there.

    `no_engine`: where an engine was looked for and why none answers, when none does. `named`: the
    engine that the person means, by DOCKER_HOST, whether it answers or not.
    """

    docker: str
    prometheus: str
    alertmanager: str
    no_engine: str = ""
    named: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """The new folder, and what people should know of it."""

    folder: Path
    around: Around
    services: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def config(self) -> Path:
        """The configuration folder."""
        return self.folder / "config"

    @property
    def clone(self) -> Path:
        """Where desired state is edited."""
        return self.folder / "desired-state"


def look_around(
    environ: Callable[[str], str | None] = os.environ.get,
    answers: Callable[[str], bool] | None = None,
) -> Around:
    """What answers on this machine, at the usual places; of an engine that is named, only there.

    Another one's containers would be taken for those that the person means.
    """
    ready = answers or _answers
    rootless = f"unix:///run/user/{os.getuid()}/docker.sock"
    named = environ("DOCKER_HOST") or ""
    hosts = [named] if named else ["unix:///var/run/docker.sock", rootless]
    docker = _first(hosts, ready)
    return Around(
        docker=docker,
        prometheus=_first(["http://127.0.0.1:9090"], ready),
        alertmanager=_first(["http://127.0.0.1:9093"], ready),
        no_engine="" if docker else "; ".join(f"{host}: {_why_silent(host)}" for host in hosts),
        named=named,
    )


def _why_silent(host: str) -> str:
    """What a person can see of an engine that does not answer."""
    socket = Path(host.removeprefix("unix://"))
    if not host.startswith("unix://"):
        return "does not answer"
    try:
        if not socket.is_socket():
            return "no such socket"
    except OSError as exc:
        return exc.strerror or str(exc)
    return "does not answer" if os.access(socket, os.R_OK | os.W_OK) else "permission denied"


def _first(addresses: Iterable[str], ready: Callable[[str], bool]) -> str:
    return next((address for address in addresses if ready(address)), "")


def _answers(address: str) -> bool:
    """Whether a server is there: an engine at its socket, others by their readiness page."""
    socket = address.removeprefix("unix://")
    if address.startswith("unix://") and not _is_socket(Path(socket)):
        return False
    if address.startswith(("tcp://", "ssh://")):
        return True  # named by the person: the import says what is wrong with it
    transport = httpx.HTTPTransport(uds=socket) if socket != address else None
    url = "http://docker/_ping" if transport else f"{address}/-/ready"
    try:
        with httpx.Client(transport=transport, timeout=2) as client:
            return client.get(url).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def _is_socket(path: Path) -> bool:
    try:
        return path.is_socket()
    except OSError:  # it lies where this user may not look
        return False


def init(folder: Path, *, mode: Mode, around: Around) -> Made:
    """Write everything into a folder that does not exist yet, or is empty.

    Args:
        folder: appears complete or not at all.
        mode: what UICI may do at first.
        around: what the configuration is for.

    Raises:
        PermanentError: the folder is not empty, can't be written or can't be named in a
            command that is printed, as with a line break; Git is missing.
        UiciError: the engine that answered can't be read.
    """
    if not str(folder).isprintable():
        shown = printable(folder)
        raise PermanentError(f"no printed command could name the folder {shown}: take another name")
    folder = folder.resolve()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PermanentError(_not_empty(folder))
    scratch = folder.with_name(f".{folder.name}.new")
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        _configuration(scratch / "config", folder, mode, around)
        loaded = UniversalConfigLoader(scratch / "config").load()
        files, left_out = _state(loaded, scratch / "seed", around)
        bare_remote(scratch / "desired-state.git", scratch / "seed", branch="main")
        shutil.rmtree(scratch / "seed")
        _clone(scratch, folder)
        if folder.exists():
            folder.rmdir()
        scratch.rename(folder)
    except OSError as exc:
        raise PermanentError(f"{exc.filename or folder}: {exc.strerror or exc}") from exc
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Made(folder, around, files, left_out)


def _not_empty(folder: Path) -> str:
    """Nothing is ever written over: what to do is up to the person, in words to copy."""
    if not (folder / "config" / "platform.yml").is_file():
        return f"{folder} is not empty: name a new folder"
    quoted, aside = shlex.quote(str(folder)), shlex.quote(f"{folder}.old")
    return (
        f"{folder} is not empty, there is a config/platform.yml in it: go on with"
        f" uici doctor --config {shlex.quote(str(folder / 'config'))}, or begin anew in another"
        f" folder, or after mv {quoted} {aside} (desired state and its history are in it)"
    )


def _configuration(config: Path, folder: Path, mode: Mode, around: Around) -> None:
    """The shipped one, its comments included, with what is different here."""
    shutil.copytree(DEFAULT_DIRECTORY, config)

    def platform(data: Any) -> None:
        data["dataDirectory"] = str(folder / "data")
        data["git"]["remote"] = str(folder / "desired-state.git")
        data["git"]["seed"] = "../desired-state"
        data["guard"]["policy"]["mode"] = mode.value

    def environments(data: Any) -> None:
        local = data["environments"]["local-docker"]
        if host := around.docker or around.named:
            local["connection"]["host"] = host
            socket = host.removeprefix("unix://")
            local["detect"] = [{"file": socket}] if socket != host else []
        for name, address in (
            ("prometheus", around.prometheus),
            ("alertmanager", around.alertmanager),
        ):
            if not address:
                local[name] = []

    _edit(config / "platform.yml", platform)
    _edit(config / "environments.yml", environments)


def _edit(file: Path, change: Callable[[Any], None]) -> None:
    yaml = YAML()  # keeps comments, order and quotes
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.representer.add_representer(type(None), _null)
    data = yaml.load(file)
    change(data)
    yaml.dump(data, file)


def _null(representer: Any, _: None) -> Any:
    """As it stands in the shipped files: a setting whose value is null is no empty line."""
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def _state(
    config: UniversalConfig, seed: Path, around: Around
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The first desired state: what runs now, as it runs now."""
    seed.mkdir()
    (seed / "README.md").write_text(_README)
    found = _running(config) if around.docker else Imported("local-docker", ())
    written = write(found, config, seed, force=False)
    if not written.files:  # an empty desired state would be refused
        (seed / "example.yml").write_text(_EXAMPLE)
    return tuple(sorted(file.stem for file in written.files)), written.left_out


def _running(config: UniversalConfig) -> Imported:
    environment = the_environment(config, None, "docker")
    identity = with_runtime(agent_identity(config), runtime_native_ids())
    try:
        return import_docker(config, environment, identity)
    except UiciError as exc:
        exc.args = (config.redactor().text(str(exc)),)
        raise


def _clone(scratch: Path, folder: Path) -> None:
    """A person's clone, with the person's own Git settings, of what will stand in `folder`."""
    bare, clone = (str(scratch / name) for name in ("desired-state.git", "desired-state"))
    _git("clone", "--quiet", bare, clone)
    _git("-C", clone, "remote", "set-url", "origin", str(folder / "desired-state.git"))


def _git(*words: str) -> None:
    done = subprocess.run(  # noqa: S603 - an argument list of our own, no shell
        [find_program("git"), *words], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise PermanentError(f"git {words[0]} failed: {done.stderr.strip()}")


def _found(made: Made) -> str:
    services = count(len(made.services), "service")
    if made.services:
        return f"{services} as they run now"
    if made.around.docker:
        return "an example: the engine was asked, and no container runs that is yours"
    return "an example: NO ENGINE could be asked what runs"


def _without_engine(around: Around, shown: Path) -> Iterable[str]:
    """How to go on where no engine has answered."""
    yield ""
    yield "No Docker Engine could be asked what runs here, so nothing of it is in desired state:"
    yield f"  {around.no_engine or 'none was found'}"
    if around.named:
        yield "DOCKER_HOST names it, so no other was asked. Correct or unset DOCKER_HOST, then uici"
        yield "init in another folder. Or go on with this one when it answers, or with another in"
        yield f"connection.host of {shown}/config/environments.yml:"
    else:
        yield "Start one (systemctl start docker; without systemd: dockerd, as root), or name one"
        yield "by DOCKER_HOST; then uici init in another folder. Or go on with this one: where the"
        yield f"engine is elsewhere, set connection.host in {shown}/config/environments.yml; then"
    config, clone = (shlex.quote(f"{shown}/{name}") for name in ("config", "desired-state"))
    yield f"  uici import docker --config {config} -o {clone}"
    yield f"  git -C {clone} add . && git -C {clone} commit -m 'What runs' && git -C {clone} push"


def sentences(made: Made, shown: Path, mode: Mode) -> Sequence[str]:
    """What was found and made, and what to do next, a line each.

    Args:
        made: what `init` gave.
        shown: the folder as the person wrote it.
        mode: that was chosen.
    """
    around, config = made.around, shlex.quote(f"{shown}/config")
    lines = [
        f"Docker Engine  {around.docker or 'none answers, see below'}",
        f"Prometheus     {around.prometheus or 'none answers at 127.0.0.1:9090: left out'}",
        f"Alertmanager   {around.alertmanager or 'none answers at 127.0.0.1:9093: left out'}",
        "",
        f"{shown}/config             configuration, all of it commented",
        f"{shown}/desired-state.git  the state repository that the agent reads",
        f"{shown}/desired-state      your clone: {_found(made)}",
    ]
    lines += [f"left out: {sentence}" for sentence in made.left_out]
    if not around.docker:
        lines += _without_engine(around, shown)
    lines += [
        "",
        "Next:",
        f"  uici doctor --config {config}",
        f"  uici plan --config {config}      # changes nothing",
        f"  uici serve --config {config}     # the schedule, with the Prefect UI",
        f"Or for this shell: export UICI_CONFIG={shlex.quote(str(made.config))}, without --config.",
    ]
    if mode is Mode.OBSERVE:
        lines += ["It only looks until guard.policy.mode in platform.yml says propose or enforce."]
    return lines
