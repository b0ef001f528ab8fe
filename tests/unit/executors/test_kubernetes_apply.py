"""Bodies for server-side apply: what is ours, and desired state laid over it."""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from executors.kubernetes import apply
from executors.kubernetes.binding import Place, WorkloadKind
from executors.kubernetes.objects import observed_spec, template_of
from infrastructure.service import Service
from tests.builders import service
from tests.fakes.kubernetes_server.store import Store

PLACE = Place(WorkloadKind.DEPLOYMENT, "shop", "web", None)


def created(wanted: Service, store: Store | None = None) -> dict[str, Any]:
    values = {name: str(value) for name, value in wanted.spec.env.items()}
    body = apply.new_body(wanted, PLACE, values)
    made, _ = (store or Store()).apply(
        "deployments", "shop", "web", body, manager="uici", force=False
    )
    return made


names = st.text("ABC", min_size=1, max_size=2)


@given(
    env=st.dictionaries(names, st.text(max_size=5), max_size=3),
    ports=st.lists(st.integers(1, 9).map(str), max_size=3, unique=True),
    command=st.none() | st.lists(st.text(max_size=3), min_size=1, max_size=3),
)
def test_applying_what_is_ours_changes_nothing(
    env: dict[str, str], ports: list[str], command: list[str] | None
) -> None:
    store = Store()
    live = created(service("web", env=env, ports=ports, command=command), store)
    before = copy.deepcopy(live["spec"])
    body = apply.owned(live, "uici")
    after, _ = store.apply("deployments", "shop", "web", body, manager="uici", force=False)
    assert after["spec"] == before


@given(env=st.dictionaries(names, st.text(min_size=1, max_size=5), max_size=3))
def test_what_is_created_is_observed_as_declared(env: dict[str, str]) -> None:
    wanted = service(
        "web", env=env, ports=["80", "53/udp"], resources={"memory": "64Mi", "cpu": "250m"}
    )
    seen = observed_spec(template_of(created(wanted), PLACE), PLACE)
    assert (seen.image, dict(seen.env)) == ("web:1.0.0", env)
    assert (seen.memory, seen.cpu) == (64 * 2**20, Decimal("0.25"))
    assert set(seen.ports) == {"80", "53/udp"}


def test_of_an_adopted_workload_nothing_is_ours() -> None:
    store = Store()
    live = created(service("web", env={"A": "1"}), store)
    assert apply.owned(live, "somebody") == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "shop"},
    }


def test_a_variable_that_desired_state_no_longer_has_is_dropped_and_others_are_kept() -> None:
    store = Store()
    created(service("web", env={"OLD": "1", "KEPT": "1"}), store)

    def by_hand(item: dict[str, Any]) -> None:
        item["spec"]["template"]["spec"]["containers"][0]["env"].append(
            {"name": "THEIRS", "value": "x"}
        )

    live = store.change("deployments", "shop", "web", by_hand, manager="person")
    body = apply.owned(live, "uici")
    wanted = service("web", env={"KEPT": "2"})
    apply.lay_over(body, wanted, PLACE, {"KEPT": "2"}, live=live)
    after, _ = store.apply("deployments", "shop", "web", body, manager="uici", force=False)
    env = observed_spec(template_of(after, PLACE), PLACE).env
    assert env == {"KEPT": "2", "THEIRS": "x"}


def test_a_command_goes_where_the_container_keeps_its_own() -> None:
    live = {
        "spec": {
            "template": {
                "spec": {"containers": [{"name": "web", "command": ["/entry"], "args": ["a"]}]}
            }
        }
    }
    container: dict[str, Any] = {}
    apply.set_command(container, ("/entry", "b"), live, PLACE)
    assert container == {"args": ["b"]}
    container = {}
    apply.set_command(container, ("other",), live, PLACE)
    assert container == {"command": ["other"], "args": []}
    container = {}
    apply.set_command(container, ("a", "b"), None, PLACE)
    assert container == {"args": ["a", "b"]}


def test_limits_are_set_kept_and_taken_away() -> None:
    container: dict[str, Any] = {"resources": {"limits": {"memory": "1Gi", "cpu": "1"}}}
    apply.set_limits(container, 64 * 2**20, None)
    assert container["resources"]["limits"] == {"memory": "64Mi", "cpu": "1"}
    apply.set_limits(container, 0, None)
    assert container["resources"]["limits"] == {"cpu": "1"}
    untouched: dict[str, Any] = {}
    apply.set_limits(untouched, None, None)
    assert untouched == {}


def test_native_is_laid_below_the_universal_words() -> None:
    wanted = service(
        "web",
        native={
            "workload": {"minReadySeconds": 5},
            "pod": {"serviceAccountName": "web"},
            "container": {"image": "never", "workingDir": "/srv"},
        },
    )
    spec = created(wanted)["spec"]
    pod = spec["template"]["spec"]
    assert spec["minReadySeconds"] == 5
    assert pod["serviceAccountName"] == "web"
    assert pod["containers"][0]["image"] == "web:1.0.0"
    assert pod["containers"][0]["workingDir"] == "/srv"


def test_kinds_get_the_fields_that_they_have_to_have() -> None:
    wanted = service("web", replicas=2)
    stateful = apply.new_body(wanted, Place(WorkloadKind.STATEFUL_SET, "shop", "web", None), {})
    assert (stateful["spec"]["serviceName"], stateful["spec"]["replicas"]) == ("web", 2)
    daemon = apply.new_body(wanted, Place(WorkloadKind.DAEMON_SET, "shop", "web", None), {})
    assert "replicas" not in daemon["spec"]
    cron = apply.new_body(wanted, Place(WorkloadKind.CRON_JOB, "shop", "web", None), {})
    template = cron["spec"]["jobTemplate"]["spec"]["template"]
    assert template["spec"]["restartPolicy"] == "Never"
    assert "selector" not in cron["spec"]
