"""A network bridge of our own for an engine of our own, by the kernel's own calls.

`ip` (iproute2) and `brctl` are missing on many small machines, so this speaks to the
kernel directly: see netdevice(7) and linux/sockios.h for the requests and structures.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from infrastructure.errors import PermanentError

_SIOCBRADDBR = 0x89A0
_SIOCBRDELBR = 0x89A1
_SIOCSIFFLAGS = 0x8914
_SIOCSIFADDR = 0x8916
_SIOCSIFNETMASK = 0x891C
_IFF_UP = 0x1
_PREFIX = 24
# Docker hands out 172.17–172.31 and 192.168 by itself; this is a range it leaves alone.
_POOL = ipaddress.IPv4Network("10.213.0.0/16")


@contextlib.contextmanager
def network_bridge(name: str) -> Iterator[ipaddress.IPv4Network]:
    """A bridge interface with the first address of a free /24; gone with the context.

    Args:
        name: of the interface, at most 15 bytes.

    Raises:
        PermanentError: the kernel refused (no CAP_NET_ADMIN), or no subnet is free.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        subnet = _free_subnet()
        try:
            fcntl.ioctl(control, _SIOCBRADDBR, name.encode() + b"\0")
        except OSError as exc:
            raise PermanentError(
                f"the kernel refused a network bridge for Docker ({exc.strerror}): "
                "start Docker on this machine, or run this where network devices may be made"
            ) from exc
        try:
            _set_address(control, name, _SIOCSIFADDR, subnet[1])
            _set_address(control, name, _SIOCSIFNETMASK, subnet.netmask)
            _set_flags(control, name, _IFF_UP)
            yield subnet
        finally:
            with contextlib.suppress(OSError):  # dockerd may have removed it
                _set_flags(control, name, 0)
                fcntl.ioctl(control, _SIOCBRDELBR, name.encode() + b"\0")


def _free_subnet() -> ipaddress.IPv4Network:
    taken = set(_routes())
    for subnet in _POOL.subnets(new_prefix=_PREFIX):
        if not any(subnet.overlaps(other) for other in taken if other.prefixlen > 0):
            return subnet
    raise PermanentError(f"no free subnet in {_POOL} for a Docker bridge")


def _routes() -> Iterator[ipaddress.IPv4Network]:
    """Destinations of the routing table; /proc writes addresses as little-endian hex."""
    with Path("/proc/net/route").open(encoding="ascii") as table:
        next(table)
        for line in table:
            fields = line.split()
            address, mask = (struct.pack("<I", int(fields[column], 16)) for column in (1, 7))
            yield ipaddress.IPv4Network(
                (int.from_bytes(address), int.from_bytes(mask).bit_count()), strict=False
            )


def _set_address(
    control: socket.socket, name: str, request: int, address: ipaddress.IPv4Address
) -> None:
    # struct ifreq: name[16], struct sockaddr_in {family, port, address, padding}
    packed = struct.pack("16sHH4s8x", name.encode(), socket.AF_INET, 0, address.packed)
    fcntl.ioctl(control, request, packed)


def _set_flags(control: socket.socket, name: str, flags: int) -> None:
    fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", name.encode(), flags))
