"""Blue-green replacement: the successor runs and is healthy before the old one stops.

It waits under a name of its own (`NEW_MARK`) and without the network aliases, so that
nobody is sent to it; once it is up it gets the aliases, then the name, and the old one
stops. For that both have to run at the same time, which a fixed host port, a fixed address,
a shared network or data that both would write does not allow. Neighbour:
`replace_container`, which knows what to do when something breaks off.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from executors.deadline import Deadline
from executors.docker.carry_over import endpoints_of, extra_networks
from executors.docker.last_words import in_short, last_words
from executors.docker.lifecycle import await_up
from executors.docker.membership import new_name, old_name
from executors.docker.same_meaning import at_creation
from executors.docker.session import DockerSession, Job
from executors.docker.spec import Container, Json
from infrastructure.errors import PermanentError, UiciError

_ALIASES = "Aliases"
_ONE_AT_A_TIME = ("host", "container:")


def refuse_what_excludes_another(job: Job, old: Container, body: Mapping[str, Any]) -> None:
    """Whether two of it can run at the same time, before anything changes.

    Raises:
        PermanentError: they can't; with the strategy that does it.
    """
    reason = next(_obstacles(old, body), None)
    if reason is not None:
        raise PermanentError(
            f"{job.call.primitive} {job.service.target}: {old.name} {reason}, so no second one"
            " can run beside it: use strategy in_place"
        )


def install_beside(
    job: Job, session: DockerSession, old: Container, body: Mapping[str, Any], deadline: Deadline
) -> str:
    """Run the successor, wait until it is up, give it the aliases; returns its id.

    The old one is not touched: both answer to the aliases then, and both are up.

    Raises:
        PermanentError: it did not come up; it is removed again.
    """
    first, later = at_creation(_unnamed(body))
    new = session.create(new_name(old.name, old.id), first)
    try:
        for network, endpoint in {**extra_networks(old), **later}.items():
            session.connect(network, new, _without_aliases(endpoint))
        session.start(new)
        await_up(session, new, deadline, name=f"the new {old.name}")
        for network, endpoint in {**extra_networks(old), **_endpoints(body)}.items():
            if endpoint.get(_ALIASES):
                session.disconnect(network, new)
                session.connect(network, new, endpoint)
    except UiciError as exc:
        with job.session() as cleaning:
            said = last_words(job, new)
            cleaning.remove(new)
        raise PermanentError(
            f"{job.call.primitive} {job.service.target}: {exc}{in_short(said)};"
            f" {old.name} ran all the time"
        ) from exc
    return new


def take_place(session: DockerSession, new: str, old: Container) -> None:
    """Give the successor the old one's name. The old one still runs then."""
    session.rename(old.id, old_name(old.name, old.id))
    session.rename(new, old.name)


def _obstacles(old: Container, body: Mapping[str, Any]) -> Iterator[str]:
    host = body.get("HostConfig") or {}
    for port, bindings in sorted((host.get("PortBindings") or {}).items()):
        if any(
            (binding or {}).get("HostPort") not in (None, "", "0") for binding in bindings or ()
        ):
            yield f"publishes {port} on a fixed port of the host"
    if str(host.get("NetworkMode") or "").startswith(_ONE_AT_A_TIME):
        yield "shares the network of the host or of another container"
    for network, endpoint in endpoints_of(old).items():
        if endpoint.get("IPAMConfig"):
            yield f"has a fixed address in network {network}"
    for place in _written(host):
        yield f"writes to {place}, and two would write there at the same time"


def _written(host: Mapping[str, Any]) -> Iterator[str]:
    """Volumes and folders of the host that it may write to."""
    for bind in host.get("Binds") or ():
        source, _, rest = str(bind).partition(":")
        if "ro" not in rest.rpartition(":")[2].split(","):
            yield source
    for mount in host.get("Mounts") or ():
        if mount.get("Type") != "tmpfs" and not mount.get("ReadOnly"):
            yield str(mount.get("Source") or mount.get("Target"))
    for other in host.get("VolumesFrom") or ():
        if not str(other).endswith(":ro"):
            yield f"the volumes of {other}"


def _endpoints(body: Mapping[str, Any]) -> Mapping[str, Json]:
    return (body.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}


def _unnamed(body: Mapping[str, Any]) -> Json:
    """The create body without aliases."""
    made = copy.deepcopy(dict(body))
    endpoints = _endpoints(made)
    if endpoints:
        made["NetworkingConfig"]["EndpointsConfig"] = {
            network: _without_aliases(endpoint) for network, endpoint in endpoints.items()
        }
    return made


def _without_aliases(endpoint: Mapping[str, Any]) -> Json:
    return {key: value for key, value in endpoint.items() if key != _ALIASES}
