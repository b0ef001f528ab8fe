"""Hypothesis strategies for what people write. Shared by every property test."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import strategies as st

ENVIRONMENT = "local-docker"

_LOWER = string.ascii_lowercase + string.digits
names = st.from_regex(r"[a-z]([-a-z0-9]{0,14}[a-z0-9])?", fullmatch=True)
words = st.text(string.ascii_letters + string.digits + " _./:-", min_size=1, max_size=20)
variables = st.from_regex(r"LEVEL_[A-Z0-9]{1,8}", fullmatch=True)
durations = st.builds(
    "{}{}".format, st.integers(0, 999), st.sampled_from(("ms", "s", "m", "h", "d"))
)
memories = st.builds(
    "{}{}".format, st.integers(1, 4096), st.sampled_from(("", "Ki", "Mi", "Gi", "k", "M", "G"))
)
cpus = st.one_of(
    st.builds("{}m".format, st.integers(1, 8000)),
    st.builds("{}.{}".format, st.integers(0, 8), st.integers(0, 9)),
)
ports = st.integers(1, 65535)
expectations = st.builds(
    "{} {}".format,
    st.sampled_from(("==", "!=", "<=", ">=", "<", ">")),
    st.floats(-1e6, 1e6).map(lambda number: f"{number:.3f}"),
)
json_scalars = st.one_of(st.none(), st.booleans(), st.integers(-(10**9), 10**9), words)
json_values = st.recursive(
    json_scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
secret_references = st.builds(
    lambda scheme, name: {"secret": f"{scheme}:{name}"},
    st.sampled_from(("env", "file", "prefect")),
    st.text(_LOWER, min_size=1, max_size=12),
)
metric_checks: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": names, "query": words, "expect": expectations},
    optional={"for": durations},
)


def _name(entry: dict[str, Any]) -> Any:
    return entry["name"]


metric_lists = st.lists(metric_checks, max_size=3, unique_by=_name)


@st.composite
def service_documents(
    draw: st.DrawFn,
    *,
    name: st.SearchStrategy[str] = names,
    environment: str = ENVIRONMENT,
    depends_on: st.SearchStrategy[list[str]] | None = None,
) -> dict[str, Any]:
    """A valid Service as it stands in YAML, without host ports and dependencies of its own.

    `depends_on` draws the `dependsOn` list; None leaves it out.
    """
    spec: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {"image": st.builds("{}:{}".format, names, st.integers(0, 99))},
            optional={
                "command": st.lists(words, max_size=3),
                "replicas": st.integers(0, 50),
                "env": st.dictionaries(variables, words | secret_references, max_size=4),
                "resources": st.fixed_dictionaries({}, optional={"memory": memories, "cpu": cpus}),
                "ports": st.lists(ports.map(str), max_size=3, unique=True),
                "health": st.fixed_dictionaries(
                    {},
                    optional={
                        "http": st.fixed_dictionaries(
                            {"port": ports},
                            optional={"path": st.just("/health"), "timeout": durations},
                        ),
                        "metrics": metric_lists,
                    },
                ),
                "alerts": st.lists(
                    # A matcher that is blank is refused: it would match what has no such label.
                    st.dictionaries(names, words.filter(str.strip), min_size=1, max_size=2).map(
                        lambda matchers: {"matchers": matchers}
                    ),
                    max_size=2,
                ),
                "native": st.dictionaries(names, json_values, max_size=3),
                "ignoreDifferences": st.lists(
                    st.sampled_from(("/replicas", "/env/LEVEL_A", "/resources/memory")), max_size=2
                ),
                "remediation": st.fixed_dictionaries(
                    {},
                    optional={
                        "mode": st.sampled_from(("observe", "propose", "enforce")),
                        "maxAttempts": st.integers(0, 100),
                    },
                ),
            },
        )
    )
    if depends_on is not None:
        spec["dependsOn"] = draw(depends_on)
    return {
        "apiVersion": "uici/v1",
        "kind": "Service",
        "metadata": {"name": draw(name), "environment": environment},
        "spec": spec,
    }
