"""Whether the agent's own clone is damaged: what Git says, and what it says when asked.

A healthy run asks nothing: only what a command has said on stderr, or that it failed
without a reason that people know, leads to `git fsck`. Neighbours: who runs the commands is
`flows.repository.process`; what is done about damage is `flows.repository.renewal`.
"""

from __future__ import annotations

import re
from pathlib import Path

from flows.repository.remote import reason_line
from flows.repository.runner import Done, Runner
from infrastructure.errors import DeadlineExceededError

# Git 2.30 to 2.47: its words for files of a repository that are not what they should be.
_DAMAGE = re.compile(
    r"not a git repository"
    r"|ignoring (?:broken|dangling) ref|invalid sha1 pointer|reference broken|bad ref\b"
    r"|(?:unexpected|unterminated) line in .*packed-refs"
    r"|object file .* is empty|is corrupt|object corrupt or missing|hash[ -]mismatch"
    r"|unable to unpack|inflate: |garbage at end of|bad packed object"
    r"|pack(?:file)? .*(?:does not match index|cannot be accessed|too short|bad offset"
    r"|index not opened|signature mismatch|corrupt|not a GIT packfile|claims to have)"
    r"|index file .* (?:is too small|is corrupt|wrong|is version|non-monotonic)"
    r"|wrong index v\d file size|non-monotonic index"
    r"|bad object |bad tree object|missing (?:object|blob|tree|commit) [0-9a-f]{7}"
    r"|broken link from|unable to read (?:tree|sha1|[0-9a-f]{7})"
    r"|could not (?:read|parse|fetch) (?:commit |object )?[0-9a-f]{7}|cannot read [0-9a-f]{7}"
    r"|bad config (?:line|file)|invalid (?:object|commit) |failed to (?:read|parse) object",
    re.IGNORECASE,
)
# A command that fails for one of these says nothing about the files that are there.
_NO_DAMAGE = re.compile(
    r"no space left|disk quota|permission denied|read-only file system|cannot lock ref"
    r"|unable to create '|too many open files|cannot allocate memory",
    re.IGNORECASE,
)


def told_damage(stderr: str) -> str:
    """The first line that speaks of damage, whosever; empty: there is none."""
    for line in stderr.splitlines():
        # What a remote says comes with its name in front, and is about the remote.
        if not line.startswith("remote: ") and _DAMAGE.search(line):
            return line
    return ""


def damage_of(runner: Runner, directory: Path, done: Done, *, local: bool) -> str:
    """Why this clone is damaged, in one line, after a command said `done`; empty: it is not.

    Args:
        runner: asks Git when the command's words leave doubt.
        directory: the clone.
        done: the command.
        local: the command needed no remote, so that its failing without a known reason
            is a reason to look.
    """
    line = told_damage(done.stderr)
    if line and str(directory) in line:
        return reason_line(line)
    unexplained = local and done.status != 0 and not _NO_DAMAGE.search(done.stderr)
    return examine(runner) if line or unexplained else ""


def examine(runner: Runner) -> str:
    """What `git fsck` finds, in one line; empty: nothing, or it did not finish in time.

    Reads every object: for a clone under suspicion only. Commits that are merely odd, as
    old tools wrote them, are no damage.
    """
    try:
        done = runner.run(["fsck", "--no-dangling", "--no-progress"])
    except DeadlineExceededError:
        return ""
    output = f"{done.stderr}\n{done.stdout.decode(errors='replace')}"
    line = told_damage(output)
    return reason_line(line) if line else ""
