"""Prometheus and Alertmanager as children, with a configuration of the caller's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from flows.local_stack.child import answers, child, find_program, free_port


@contextlib.contextmanager
def prometheus(
    scratch: Path, config: Path, *, port: int | None = None, ready_timeout: float = 60
) -> Iterator[str]:
    """A Prometheus server with a fresh database under `scratch`.

    Args:
        scratch: directory for its database and `prometheus.log`.
        config: its `prometheus.yml`; rule files are relative to it.
        port: None takes a free one.
        ready_timeout: seconds.

    Yields:
        Its address, such as `http://127.0.0.1:41234`.

    Raises:
        PermanentError: not installed, or not ready in time; with the tail of its log.
    """
    address = f"127.0.0.1:{port or free_port()}"
    argv = [
        find_program("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={scratch / 'prometheus-data'}",
        f"--web.listen-address={address}",
    ]
    with child("Prometheus", argv, log=scratch / "prometheus.log") as server:
        server.wait_until(lambda: answers(f"http://{address}/-/ready"), timeout=ready_timeout)
        yield f"http://{address}"


@contextlib.contextmanager
def alertmanager(
    scratch: Path, config: Path, *, port: int | None = None, ready_timeout: float = 60
) -> Iterator[str]:
    """An Alertmanager without cluster peers, and with empty storage under `scratch`.

    Args:
        scratch: directory for its storage and `alertmanager.log`.
        config: its `alertmanager.yml`.
        port: None takes a free one.
        ready_timeout: seconds.

    Yields:
        Its address.

    Raises:
        PermanentError: not installed, or not ready in time; with the tail of its log.
    """
    address = f"127.0.0.1:{port or free_port()}"
    argv = [
        find_program("prometheus-alertmanager", "alertmanager"),
        f"--config.file={config}",
        f"--storage.path={scratch / 'alertmanager-data'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",  # empty: no gossip, nothing listens beyond loopback
    ]
    with child("Alertmanager", argv, log=scratch / "alertmanager.log") as server:
        server.wait_until(lambda: answers(f"http://{address}/-/ready"), timeout=ready_timeout)
        yield f"http://{address}"
