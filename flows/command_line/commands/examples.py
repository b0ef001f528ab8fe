"""What `--help` teaches by: for each command some lines to copy, and what they do.

Neighbour: `flows.command_line.commands.parsing` prints them. A test parses every line.
"""

from __future__ import annotations

from collections.abc import Mapping

# Words of the command → lines and what they do. "" is `uici` itself.
EXAMPLES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "": (
        ("uici init ops", "begin: a configuration for what runs here"),
        ("export UICI_CONFIG=$PWD/ops/config", "what all others are about, without --config"),
        ("uici doctor", "does all that it needs answer?"),
        ("uici plan", "what differs? changes nothing"),
        ("uici serve", "the loop, every minute"),
        ("uici status", "woken at night: which target is sick?"),
        ("uici explain web", "why, what was tried, what waits for you"),
    ),
    "init": (
        ("uici init ops", "looks only, until you say otherwise"),
        ("uici init ops --mode enforce", "may repair from the first run on"),
    ),
    "validate": (
        ("uici validate desired-state", "a folder of Service files"),
        ("uici validate ops/desired-state --config ops/config", "by your own configuration"),
        ("uici validate . --annotate github", "in a pull request's check"),
    ),
    "plan": (
        ("uici plan", "all targets"),
        ("uici plan -t web -t db --no-llm", "two services, no model asked"),
        ("uici plan --branch more-memory", "as if a branch were merged"),
        ("uici plan --watch 10", "again every ten seconds"),
    ),
    "reconcile": (
        ("uici reconcile", "one run of the loop, now"),
        ("uici reconcile -e production --mode propose", "plan for one environment, repair nothing"),
        ("uici reconcile -t web --json", "one service; the report as JSON"),
    ),
    "status": (
        ("uici status", "as committed to Git"),
        ("uici status -e production --watch 5", "again every five seconds"),
    ),
    "explain": (
        ("uici explain web", "why it is as it is, and what comes next"),
        ("uici explain production/web --json", "for a program"),
    ),
    "report": (
        ("uici report", "the newest"),
        ("uici report --list", "which there are"),
        ("uici report 031205", "the run of 03:12:05"),
    ),
    "knowledge": (
        ("uici knowledge", "all classes of incidents"),
        ("uici knowledge docker-stopped", "one of them, with its trials"),
    ),
    "operations": (
        ("uici operations", "all of them"),
        ("uici operations -e production", "what that environment can"),
    ),
    "rbac": (
        (
            "uici rbac --account uici/devops-ai-agent > rbac.yaml",
            "then: kubectl apply --filename rbac.yaml",
        ),
    ),
    "run": (
        ("uici run restart web", "through the guard"),
        ("uici run get_logs web -p lines=50 -p level=error", "reads only"),
        ("uici run scale production/web -p replicas=3", "only to what Git declares"),
    ),
    "propose": (
        ("uici propose --dry-run", "the diffs and the reasons; writes nothing"),
        ("uici propose web", "for one service, as a branch"),
    ),
    "approve": (
        ("uici approve", "what waits, and all about it"),
        ("uici approve 3f2a", "the request whose id begins so"),
        ("uici approve 3f2a --renew", "have it asked again"),
    ),
    "reject": (('uici reject 3f2a --reason "not before the release"', "it is not asked again"),),
    "pause": (
        ('uici pause --reason "what happened at 03:12?"', "everywhere, until uici resume"),
        ("uici pause --reason release --until 2h -e production", "one environment, two hours"),
    ),
    "resume": (
        ("uici resume", "everywhere"),
        ("uici resume -e production", "one environment"),
    ),
    "doctor": (
        ("uici doctor --config ops/config", "one line each, and how to mend it"),
        ("uici doctor --json", "for a program"),
    ),
    "serve": (("uici serve --config ops/config", "ends on Ctrl-C or SIGTERM"),),
    "demo": (
        ("uici demo", "five incidents, then everything is ended"),
        ("uici demo --keep", "leaves it running, and prints the addresses"),
    ),
    "import docker": (
        ("uici import docker -o desired-state", "every container that runs"),
        ("uici import docker web db -o desired-state", "two of them"),
    ),
    "import compose": (
        ("uici import compose shop/compose.yml -o desired-state", "every service of the file"),
    ),
    "import kubernetes": (
        ("uici import kubernetes -e production -o desired-state", "every workload"),
    ),
    "notifications apply": (
        ("uici notifications apply --dry-run", "what would be made"),
        ("uici notifications apply", "make it; may be repeated"),
    ),
}
