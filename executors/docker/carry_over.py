"""What a new container inherits from the one it replaces. Pure.

Desired state speaks of image, command, environment, limits and ports. Everything else that
the old container had (volumes, networks, labels, user, health check, restart policy …) was
somebody's decision and is kept; what it merely had from its image is not, so that a new
image brings its own defaults.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from executors.docker.spec import Container, Json, env_map, overlay
from infrastructure.service import Service

PREVIOUS_IMAGE_LABEL = "uici.previous-image"
PREVIOUS_IMAGE_ID_LABEL = "uici.previous-image-id"

# Config keys that an image can bring; equal values came from there.
_FROM_IMAGE = ("WorkingDir", "User", "StopSignal", "Healthcheck", "Shell", "OnBuild")
_FROM_IMAGE_MAPS = ("Labels", "Volumes", "ExposedPorts")
# The parts of an endpoint that a person sets; the rest is what the engine assigned.
_ENDPOINT_KEYS = ("IPAMConfig", "Links", "Aliases", "DriverOpts", "GwPriority")
# Network modes that are no network one can connect to or disconnect from.
_NO_NETWORK = ("host", "none", "container:")
_DEFAULT_NETWORK = ("default", "bridge")


def replacement_body(
    old: Container,
    image_config: Mapping[str, Any],
    service: Service,
    env: Mapping[str, str],
    *,
    image: str | None = None,
) -> Json:
    """The create body of the container that replaces `old`.

    Args:
        old: the container as inspected.
        image_config: `Config` of the image that `old` was made from; empty if unknown.
        service: desired state.
        env: the environment to set, secrets resolved.
        image: another image than the declared one.
    """
    base = _kept_config(old, image_config)
    base["HostConfig"] = _kept_host_config(old)
    endpoints = endpoints_of(old)
    primary = primary_network(old)
    if endpoints.get(primary) and not _declared_elsewhere(old, primary, service):
        base["NetworkingConfig"] = {"EndpointsConfig": {primary: endpoints[primary]}}
    body = overlay(base, service, env, image=image)
    _keep_anonymous(body["HostConfig"], old)
    return body


def _declared_elsewhere(old: Container, primary: str, service: Service) -> bool:
    """Whether Git names another network than the one that it was made with.

    The old one's endpoint would keep the new container from joining the declared one.
    """
    host = service.spec.native.get("HostConfig")
    mode = host.get("NetworkMode") if isinstance(host, Mapping) else None
    identity = str((old.networks.get(primary) or {}).get("NetworkID"))
    return mode is not None and mode not in (primary, identity, old.host_config.get("NetworkMode"))


def remember_image(body: Json, old: Container, new_image_id: str) -> None:
    """Note in the labels which image ran before, for `rollback`.

    A replacement by the same image keeps the note that the old container had.
    """
    old_id = str(old.inspect.get("Image", ""))
    if old_id == new_image_id:
        return
    body["Labels"][PREVIOUS_IMAGE_LABEL] = str(old.config.get("Image", ""))
    body["Labels"][PREVIOUS_IMAGE_ID_LABEL] = old_id


def endpoints_of(old: Container) -> dict[str, Json]:
    """Network → endpoint settings that a person chose."""
    short = old.id[:12]
    found: dict[str, Json] = {}
    for name, endpoint in old.networks.items():
        kept = {key: endpoint[key] for key in _ENDPOINT_KEYS if endpoint.get(key)}
        if "Aliases" in kept:  # the engine adds the container's own short id
            kept["Aliases"] = [alias for alias in kept["Aliases"] if alias != short]
        found[name] = kept
    return found


def primary_network(container: Container) -> str:
    """The network that the engine connects at creation, by its name in `Networks`."""
    mode = str(container.host_config.get("NetworkMode") or "default")
    if mode in _DEFAULT_NETWORK:
        return "bridge"
    by_id = (n for n, e in container.networks.items() if str(e.get("NetworkID")) == mode)
    return next(by_id, mode)


def extra_networks(old: Container) -> dict[str, Json]:
    """Networks to connect after creation (one at creation is all that the engine takes)."""
    primary = primary_network(old)
    if primary.startswith(_NO_NETWORK):
        return {}
    return {name: e for name, e in endpoints_of(old).items() if name != primary}


def lost_primary(old: Container) -> str | None:
    """The primary network, if the old container had been disconnected from it."""
    primary = primary_network(old)
    if primary.startswith(_NO_NETWORK) or not old.networks or primary in old.networks:
        return None
    return primary


def _kept_config(old: Container, image: Mapping[str, Any]) -> Json:
    config = dict(old.config)
    for key in _FROM_IMAGE:
        if config.get(key) == image.get(key):
            config.pop(key, None)
    for key in _FROM_IMAGE_MAPS:
        own, theirs = config.get(key) or {}, image.get(key) or {}
        config[key] = {k: v for k, v in own.items() if k not in theirs or theirs[k] != v}
    theirs_env = env_map(image.get("Env"))
    own_env = env_map(config.get("Env"))
    config["Env"] = [f"{k}={v}" for k, v in own_env.items() if theirs_env.get(k) != v]
    # An entrypoint of one's own voids the image's command, so the two go together.
    if config.get("Entrypoint") == image.get("Entrypoint"):
        config.pop("Entrypoint", None)
        if config.get("Cmd") == image.get("Cmd"):
            config.pop("Cmd", None)
    if config.get("Hostname") == old.id[:12] or old.host_config.get("NetworkMode") == "host":
        config.pop("Hostname", None)
    return config


def _kept_host_config(old: Container) -> Json:
    host = dict(old.host_config)
    host["Binds"] = [*(host.get("Binds") or ()), *_anonymous_binds(old)]
    host["Mounts"] = [_named_mount(mount, old) for mount in host.get("Mounts") or ()]
    if host.get("Links"):  # "/db:/old/alias" is told, "db:alias" is taken
        host["Links"] = [_link(link) for link in host["Links"]]
    host.pop("ContainerIDFile", None)
    return host


def _anonymous_binds(old: Container) -> list[str]:
    """Volumes that no bind or mount names: of the image, or of `-v /path`. Their data stays."""
    host = old.host_config
    spoken_for = {bind.split(":")[1] for bind in host.get("Binds") or () if ":" in bind}
    spoken_for.update(str(mount.get("Target")) for mount in host.get("Mounts") or ())
    found = []
    for mount in old.inspect.get("Mounts") or ():
        target = mount.get("Destination")
        if mount.get("Type") == "volume" and mount.get("Name") and target not in spoken_for:
            mode = "" if mount.get("RW", True) else ":ro"
            found.append(f"{mount['Name']}:{target}{mode}")
    return [] if host.get("VolumesFrom") else found


def _keep_anonymous(host: Json, old: Container) -> None:
    """Binds of `native` replace the old list; data in volumes that nobody named stays."""
    mounts = host.get("Mounts") or ()
    taken = {str(bind).split(":")[1] for bind in host.get("Binds") or () if ":" in str(bind)}
    taken.update(str(mount.get("Target")) for mount in mounts)
    kept = [bind for bind in _anonymous_binds(old) if bind.split(":")[1] not in taken]
    if kept:
        host["Binds"] = [*(host.get("Binds") or ()), *kept]


def _named_mount(mount: Mapping[str, Any], old: Container) -> Json:
    """A volume mount without a source gets the name that the engine gave it."""
    if mount.get("Type") != "volume" or mount.get("Source"):
        return dict(mount)
    for actual in old.inspect.get("Mounts") or ():
        if actual.get("Destination") == mount.get("Target") and actual.get("Name"):
            return {**mount, "Source": actual["Name"]}
    return dict(mount)


def _link(link: str) -> str:
    source, _, alias = link.partition(":")
    return f"{source.lstrip('/')}:{alias.rpartition('/')[2]}"
