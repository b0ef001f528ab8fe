from __future__ import annotations

import re
import time
from datetime import timedelta

import pytest

from flows.dossier.patterns import Line, find_patterns
from infrastructure.cause_kinds import CauseKind
from infrastructure.config_models import ErrorPattern
from tests.unit.dossier.builders import REDACTOR, SECRET
from tests.unit.operations import shipped

PATIENCE = timedelta(seconds=5)
SHIPPED = shipped.runbooks().patterns

# A line that people have seen, the pattern that should say it, and its subject.
LINES = [
    ("Out of memory: Killed process 4711 (java)", "out-of-memory", ""),
    ("java.lang.OutOfMemoryError: Java heap space", "out-of-memory", ""),
    ("FATAL ERROR: Reached heap limit Allocation failed", "out-of-memory", ""),
    ("worker exited with code 137", "out-of-memory", ""),
    ("fork: Cannot allocate memory", "out-of-memory", ""),
    ("OOMKilled", "out-of-memory", ""),
    ("write /data/x: no space left on device", "disk-full", ""),
    ('Multi-Attach error for volume "pvc-1"', "volume-unavailable", ""),
    ("open /app/cache: read-only file system", "read-only-file-system", ""),
    ("pull access denied for shop, repository does not exist", "image-unavailable", "shop"),
    ("Back-off pulling image: ImagePullBackOff", "image-unavailable", ""),
    ("0/3 nodes are available: 3 Insufficient memory.", "unschedulable", None),
    ("listen tcp 0.0.0.0:8000: bind: address already in use", "port-in-use", "0.0.0.0:8000"),
    ("OSError: [Errno 98] Address already in use", "port-in-use", None),
    ("dial tcp: lookup db.internal on 10.0.0.2:53: no such host", "dns-failure", "db.internal"),
    ("getaddrinfo ENOTFOUND cache", "dns-failure", ""),
    ("psycopg2: could not translate: Name or service not known", "dns-failure", ""),
    ("x509: certificate signed by unknown authority", "tls-failure", ""),
    ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "tls-failure", ""),
    ('FATAL: password authentication failed for user "shop"', "authentication-refused", ""),
    ("Access denied for user 'shop'@'%'", "authentication-refused", "shop"),
    ("environment variable DB_PASSWORD is not set", "missing-secret", "DB_PASSWORD"),
    ("KeyError: 'API_KEY_ID'", "missing-secret", ""),
    ("./run.sh: line 3: PORT: unbound variable", "missing-secret", ""),
    ("dial tcp db:5432: connect: connection refused", "connection-refused", "db:5432"),
    ("connect ECONNREFUSED 10.0.0.4:6379", "connection-refused", ""),
    ("read: connection reset by peer", "connection-lost", ""),
    ("context deadline exceeded", "connection-lost", ""),
    ("sqlite3.OperationalError: database is locked", "database-locked", ""),
    ("FATAL: sorry, too many connections", "database-locked", ""),
    ('relation "orders" does not exist', "migration-needed", "orders"),
    ("no such table: users", "migration-needed", ""),
    ("error: unknown flag: --wrokers", "unknown-flag", "--wrokers"),
    ("tool: unrecognized option '-q'", "unknown-flag", "-q"),
    ("cat: /etc/app.yml: No such file or directory", "missing-file", ""),
    ("ModuleNotFoundError: No module named 'x'", "missing-file", ""),
    ("failed to load configuration from /etc/x", "bad-configuration", ""),
    ("invalid value for PORT", "bad-configuration", ""),
    ("open('/data/db'): Permission denied", "permission-denied", None),
    ("accept: too many open files", "too-many-open-files", ""),
    ("Rate limit exceeded", "overload", ""),
    ("fatal error: all goroutines are asleep - deadlock!", "deadlock", ""),
    ("[CRITICAL] WORKER TIMEOUT (pid:8)", "deadlock", ""),
    ("Segmentation fault (core dumped)", "crash", ""),
    ("thread 'main' panicked at src/main.rs:3", "crash", ""),
    ("exec /app: exec format error", "crash", ""),
]


@pytest.mark.parametrize(("text", "name", "subject"), LINES)
def test_a_known_error_is_known_with_its_subject(text: str, name: str, subject: str | None) -> None:
    found, given_up = find_patterns(
        SHIPPED,
        [("local/shop", [Line(text)])],
        redact=REDACTOR.text,
        limit=300,
        patience=PATIENCE,
    )
    by_name = {match.name: match for match in found}
    assert name in by_name, [match.name for match in found]
    assert given_up == ()
    if subject is not None:
        assert by_name[name].subject == subject


def test_every_shipped_pattern_is_seen_to_match() -> None:
    assert {pattern.name for pattern in SHIPPED} == {name for _, name, _ in LINES}
    assert len(SHIPPED) >= 16


@pytest.mark.parametrize(
    "text",
    [
        "GET /health 200 in 3 ms",
        "listening on 0.0.0.0:8000",
        "connection from 10.0.0.1:5432 accepted",
        "loaded configuration from /etc/app.yml",
        "memory usage 40 %",
        "no errors found, 0 failed",
        "certificate renewed",
        "started worker 137",
        "migration 12 applied",
        "permissions checked",
    ],
)
def test_what_works_matches_nothing(text: str) -> None:
    found, _ = find_patterns(
        SHIPPED, [("t", [Line(text)])], redact=str, limit=300, patience=PATIENCE
    )
    assert found == ()


def test_a_subject_that_is_a_secret_is_not_told() -> None:
    line = Line(f"environment variable {SECRET} is not set")
    (match,) = find_patterns(
        SHIPPED, [("t", [line])], redact=REDACTOR.text, limit=300, patience=PATIENCE
    )[0]
    assert SECRET not in match.subject + match.line


@pytest.mark.parametrize(
    "text", ["a" * 400, "1:" * 200, "/a.b-" * 80, "x.y-" * 100, "not " * 100, "''" * 200, "-" * 400]
)
def test_no_shipped_pattern_is_slow_on_a_nasty_line(text: str) -> None:
    for pattern in SHIPPED:
        expression = re.compile(pattern.regex)
        begin = time.process_time()
        expression.search(text)
        assert time.process_time() - begin < 0.25, pattern.name


def test_a_pattern_that_takes_too_long_is_given_up_and_that_is_said() -> None:
    pattern = ErrorPattern(name="slow", regex="x", meaning="m", cause=CauseKind.UNKNOWN)
    lines = [Line("y")] * 100_000
    begin = time.perf_counter()
    found, given_up = find_patterns(
        [pattern], [("t", lines)], redact=str, limit=300, patience=timedelta(0)
    )
    assert found == ()
    assert given_up == ("pattern slow took too long on the log of t",)
    assert time.perf_counter() - begin < 1
