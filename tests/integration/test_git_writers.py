"""Many writers on one reports branch: nothing is lost, nothing is forced."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.git_world import REPORTS, Remote, agent, git

WRITERS = 8
COMMITS = 3

_WRITER = """
import sys
from pathlib import Path
from tests.integration.git_world import NOW, REPORTS, agent
me, remote, data = sys.argv[1:]
repository = agent(remote, Path(data))
repository.fetch("main", REPORTS)
for number in range(int({commits})):
    name = f"{{me}} {{number}}"
    files = {{f"reports/{{me}}-{{number}}.md": b"x", "status/shared.json": name.encode()}}
    made = repository.commit(REPORTS, files, message=name, at=NOW)
    pushed = repository.push(REPORTS, made.sha)
    assert pushed.error == "", pushed.error
    print("\nlanded", pushed.sha)
"""


@pytest.mark.parametrize("shared_clone", [True, False], ids=["one clone", "a clone each"])
def test_eight_processes_lose_nothing(tmp_path: Path, shared_clone: bool) -> None:
    remote = Remote(tmp_path / "remote.git")
    remote.commit({"shop.yml": b"shop"})
    # The remote itself proves that nobody forced: it refuses what is no fast-forward.
    git(remote.path, "config", "receive.denyNonFastForwards", "true")
    code = _WRITER.format(commits=COMMITS)
    writers = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                code,
                f"w{number}",
                str(remote.path),
                str(tmp_path / ("data" if shared_clone else f"data{number}")),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number in range(WRITERS)
    ]
    told = []
    for writer in writers:
        out, err = writer.communicate(timeout=120)
        assert writer.returncode == 0, err.decode()
        lines = out.decode().splitlines()
        told += [line.split()[1] for line in lines if line.startswith("landed ")]
    wanted = {f"w{w} {n}" for w in range(WRITERS) for n in range(COMMITS)}
    assert sorted(remote.messages()) == sorted(wanted)
    files = {f"reports/w{w}-{n}.md" for w in range(WRITERS) for n in range(COMMITS)}
    assert set(remote.files()) == {*files, "status/shared.json"}
    # What each writer was told is what stands in the remote, replayed or not.
    assert set(told) == set(remote.shas())
    last = remote.messages()[-1]
    assert remote.files()["status/shared.json"].decode() == last


def test_the_lock_is_freed_by_its_holder_s_death(tmp_path: Path) -> None:
    remote = Remote(tmp_path / "remote.git")
    remote.commit({"shop.yml": b"shop"})
    code = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from tests.integration.git_world import agent\n"
        "with agent(sys.argv[1], Path(sys.argv[2]))._locked('write'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, str(remote.path), str(tmp_path / "data")]
    assert subprocess.run(command, check=False).returncode == -9
    repository = agent(remote.path, tmp_path / "data", timeout="1s")
    with repository._locked("write"):
        pass
    assert repository.tips("main", REPORTS).pending is None
