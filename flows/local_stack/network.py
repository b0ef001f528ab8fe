"""A network in which containers reach each other, also on a machine with a firewall.

An engine of ours sets no firewall rules. Where another Docker (or a firewall) has set the
FORWARD policy to DROP and bridged packets are filtered, containers of one network could
then not reach each other; one rule for this network's own bridge lets them.
"""

from __future__ import annotations

import contextlib
import secrets
import subprocess
from collections.abc import Iterator

from flows.local_stack.child import find_program
from flows.local_stack.engine import DockerEngine, docker
from infrastructure.errors import PermanentError


@contextlib.contextmanager
def container_network(engine: DockerEngine, name: str, *, label: str) -> Iterator[None]:
    """Create the network; its firewall rule goes with the context.

    The network itself is removed with everything else that carries the label.

    Args:
        engine: where; the machine's own engine sees to its firewall itself.
        name: of the network.
        label: `key=value`, see `remove_stack`.

    Raises:
        PermanentError: the engine refused.
    """
    bridge = f"uici-{secrets.token_hex(4)}"  # an interface name has 15 bytes
    option = f"com.docker.network.bridge.name={bridge}"
    docker(engine.host, "network", "create", "--label", label, "--opt", option, name)
    if not engine.owned:
        yield
        return
    with _forwarding_within(bridge):
        yield


@contextlib.contextmanager
def _forwarding_within(bridge: str) -> Iterator[None]:
    try:
        iptables = find_program("iptables")
    except PermanentError:  # nothing filters here, or nothing that we could ask
        yield
        return
    rule = ("FORWARD", "--in-interface", bridge, "--out-interface", bridge, "--jump", "ACCEPT")
    added = _run(iptables, "--insert", *rule)
    try:
        yield
    finally:
        if added:
            _run(iptables, "--delete", *rule)


def _run(iptables: str, *arguments: str) -> bool:
    done = subprocess.run(  # noqa: S603 - a fixed program and our own words, no shell
        [iptables, "--wait", "5", *arguments], check=False, capture_output=True, timeout=15
    )
    return done.returncode == 0
