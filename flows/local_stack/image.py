"""The demo service's image, and removing what was made from it.

The image carries a label of the stack that built it, and every container made from it
inherits that label, whoever makes the container. So what belongs to a stack can be
removed exactly, also in an engine that other people use.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from flows.local_stack.child import find_program
from flows.local_stack.engine import docker
from infrastructure.errors import PermanentError

STACK_LABEL = "uici.stack"
DEMO_DIRECTORY = Path(__file__).parents[2] / "deploy" / "demo"


def build_demo_image(host: str, *tags: str, stack: str, directory: Path = DEMO_DIRECTORY) -> str:
    """Build the demo service from the machine's static busybox; no registry is asked.

    Args:
        host: the engine's address.
        tags: names for the image, such as `market-predictor:1.4.2`.
        stack: value of the label that `remove_stack` looks for.
        directory: its Dockerfile and `service/`.

    Returns:
        The image's id.

    Raises:
        PermanentError: a tag belongs to an image that is no demo's; or docker failed.
    """
    for tag in tags:
        _refuse_foreign(host, tag)
    options = [argument for tag in tags for argument in ("--tag", tag)]
    docker(
        host,
        *("build", "--quiet", "--force-rm", "--label", f"{STACK_LABEL}={stack}", *options, "-"),
        stdin=_context(directory),
    )
    return docker(host, "image", "inspect", "--format", "{{.Id}}", tags[0])


def remove_stack(host: str, stack: str) -> None:
    """Remove the containers, networks and images that carry the label of this stack.

    Raises:
        PermanentError: the engine refused or does not answer.
    """
    chosen = f"label={STACK_LABEL}={stack}"
    containers = docker(host, "ps", "--all", "--quiet", "--filter", chosen).split()
    if containers:
        docker(host, "rm", "--force", "--volumes", *containers)
    for network in docker(host, "network", "ls", "--quiet", "--filter", chosen).split():
        docker(host, "network", "rm", network)
    images = docker(host, "images", "--quiet", "--no-trunc", "--filter", chosen).split()
    if images:
        docker(host, "image", "rm", "--force", *dict.fromkeys(images))


def _refuse_foreign(host: str, tag: str) -> None:
    if not docker(host, "images", "--quiet", tag):
        return
    label = docker(
        host, "image", "inspect", "--format", f'{{{{index .Config.Labels "{STACK_LABEL}"}}}}', tag
    )
    if not label:
        raise PermanentError(
            f"the engine at {host} already has an image {tag} that is not the demo's: "
            "rename it with `docker tag`, or use another engine"
        )


def _context(directory: Path) -> bytes:
    """The build context as a tar: what is in the directory, and a static busybox."""
    buffer = io.BytesIO()
    # GNU and not PAX: the engine takes a leading PAX header for a Dockerfile.
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path in sorted(directory.rglob("*")):
            archive.add(path, arcname=str(path.relative_to(directory)), recursive=False)
        archive.add(Path(find_program("busybox")).resolve(), arcname="busybox")
    return buffer.getvalue()
