"""Many writers on one reports branch: nothing is lost, nothing is forced."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.git_world import REPORTS, Remote, agent, git

PROCESSES = 2
THREADS = 4  # of each process: locks must hold between threads, too
COMMITS = 3
WRITERS = [f"w{process}-{thread}" for process in range(PROCESSES) for thread in range(THREADS)]

# Each commit tells of its own run, so the last to land is the one whose status stands.
_PROCESS = """
import json, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tests.integration.git_world import NOW, REPORTS, agent

remote, data, commits, *names = sys.argv[1:]

def write(name):
    repository = agent(remote, Path(data.format(name=name)))
    repository.fetch("main", REPORTS)
    landed = []
    for number in range(int(commits)):
        run = f"{name}-{number}"
        status = json.dumps({"lastIncident": {"runId": run}})
        files = {f"reports/{run}.md": b"x", "status/shared.json": status.encode()}
        message = f"{run}\\n\\nUICI-Run: {run}\\n"
        made = repository.commit(REPORTS, files, message=message, at=NOW)
        pushed = repository.push(REPORTS, made.sha)
        assert pushed.error == "", pushed.error
        landed.append(pushed.sha)
    return landed

with ThreadPoolExecutor(len(names)) as pool:
    told = [sha for landed in pool.map(write, names) for sha in landed]
for sha in told:  # only now: log lines of the threads would stand between
    print("landed", sha)
"""


@pytest.mark.parametrize("data", ["data", "data-{name}"], ids=["one clone", "a clone each"])
def test_eight_writers_lose_nothing(tmp_path: Path, data: str) -> None:
    remote = Remote(tmp_path / "remote.git")
    remote.commit({"shop.yml": b"shop"})
    # The remote itself proves that nobody forced: it refuses what is no fast-forward.
    git(remote.path, "config", "receive.denyNonFastForwards", "true")
    arguments = [str(remote.path), str(tmp_path / data), str(COMMITS)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _PROCESS, *arguments, *WRITERS[start : start + THREADS]],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for start in range(0, len(WRITERS), THREADS)
    ]
    ended = [(*process.communicate(timeout=150), process.returncode) for process in processes]
    told = []
    for out, err, status in ended:
        assert status == 0, err.decode()
        lines = out.decode().splitlines()
        told += [line.split()[1] for line in lines if line.startswith("landed ")]
    wanted = [f"{name}-{number}" for name in WRITERS for number in range(COMMITS)]
    assert sorted(remote.messages()) == sorted(wanted)
    files = {f"reports/{name}-{n}.md" for name in WRITERS for n in range(COMMITS)}
    assert set(remote.files()) == {*files, "status/shared.json"}
    # What each writer was told is what stands in the remote, replayed or not.
    assert sorted(told) == sorted(remote.shas())
    last = json.loads(remote.files()["status/shared.json"])["lastIncident"]["runId"]
    assert last == remote.messages()[-1]


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
