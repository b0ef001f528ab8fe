"""KubernetesExecutor: observes a cluster and carries out primitives on it.

Observation is one paged list a kind of workload and one of pods, whatever the number of
targets. A primitive call reads the target's workload and its pods, has self-exclusion refuse
the agent's own, and only then hands over to the procedure (`lifecycle`, `rollout`, `evidence`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import structlog

from executors import secret_env
from executors.contract import ExecutorContext, Primitive
from executors.deadline import Deadline
from executors.kubernetes import evidence, lifecycle, permissions, protection, rollout
from executors.kubernetes.binding import Json, Place, WorkloadKind, kinds_of, place_of
from executors.kubernetes.errors import (
    REMEDY,
    STRANGE,
    ForbiddenError,
    UnservedError,
    not_an_api_server,
)
from executors.kubernetes.objects import (
    ENVIRONMENT_LABEL,
    SERVICE_LABEL,
    TARGET,
    meta,
    native_of,
    notes_of,
    observed_spec,
)
from executors.kubernetes.pods import observed_pod, owner_of
from executors.kubernetes.reader import (
    Key,
    Lister,
    counts,
    place_key,
    pod_keys,
    read_pods,
    read_workload,
)
from executors.kubernetes.session import Cluster, Handler, Job, Policy, uid
from executors.kubernetes.workloads import observed_workload
from infrastructure.errors import (
    NotFoundError,
    OutcomeUnknownError,
    PermanentError,
    UiciError,
)
from infrastructure.observed import (
    EngineSnapshot,
    InstanceState,
    NativeObject,
    ObservedInstance,
    ObservedService,
    ObservedSpec,
)
from infrastructure.operations import PrimitiveCall, PrimitiveResult
from infrastructure.quantities import format_duration
from infrastructure.service import SecretRef, Service

log = structlog.get_logger("uici")

# What a cluster says of one kind: the others can be seen all the same.
_BLIND = (ForbiddenError, UnservedError)
_NONE: tuple[str, ...] = ()
# name → (procedure, mutates, arguments)
_TABLE: Mapping[str, tuple[Handler, bool, tuple[str, ...]]] = MappingProxyType(
    {
        "inspect": (evidence.inspect, False, _NONE),
        "logs": (
            evidence.logs,
            False,
            ("lines", "since", "level", "filter", "source", "previous"),
        ),
        "stats": (evidence.stats, False, _NONE),
        "events": (evidence.events, False, ("since",)),
        "wait_healthy": (lifecycle.wait_healthy, False, ("stable_seconds",)),
        "start": (lifecycle.start, True, _NONE),
        "stop": (lifecycle.stop, True, _NONE),
        "restart": (lifecycle.restart, True, ("grace_seconds", "strategy")),
        "create": (rollout.create, True, _NONE),
        "scale": (rollout.scale, True, ("replicas",)),
        "update_resources": (rollout.update_resources, True, ("memory", "cpu")),
        "recreate": (rollout.recreate, True, ("image", "env")),
        "rollback": (rollout.rollback, True, _NONE),
        "exec": (
            evidence.execute,
            True,
            ("argv", "workdir", "user", "timeout_seconds", "max_output_bytes"),
        ),
    }
)
PRIMITIVES: Mapping[str, Primitive] = MappingProxyType(
    {name: Primitive(name, mutates, args) for name, (_, mutates, args) in _TABLE.items()}
)
# Primitives that can't do without the declared environment.
_NEEDING_ENV = frozenset({"create", "recreate"})
# For so few targets, asking for each is less than listing everything.
_FEW = 2


class KubernetesExecutor:
    """One cluster. See `executors.contract.Executor` for what is promised."""

    def __init__(
        self,
        cluster: Cluster,
        context: ExecutorContext,
        *,
        namespaces: Sequence[str],
        cluster_wide: bool,
        kinds: Sequence[WorkloadKind],
        page_size: int,
        progress_deadline: timedelta,
        protect_own_namespace: bool,
        policy: Policy,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.environment = context.environment
        self._cluster = cluster
        self._context = context
        self._namespaces = tuple(namespaces)
        self._lister = Lister(cluster, self._namespaces, cluster_wide, page_size)
        self._kinds = tuple(kinds)
        self._page_size = page_size
        self._progress_deadline = progress_deadline
        self._protect_own_namespace = protect_own_namespace
        self._policy = policy
        self._now = now

    # ── observation ─────────────────────────────────────────────────────────────

    def declare(self, names: frozenset[str]) -> None:
        """Nothing to remember: a workload's name is whole, no number makes it another's."""

    def observe(
        self, services: Sequence[Service], *, all_services: bool, timeout: float
    ) -> EngineSnapshot:
        """One list a kind and one of pods; for very few targets, only those."""
        deadline = Deadline(timeout)
        try:
            if not all_services and len(services) <= _FEW:
                return self._look_at_each(services, deadline)
            return self._sweep(services, deadline, all_services=all_services)
        except STRANGE as exc:
            raise not_an_api_server("list workloads and pods", self._cluster.address) from exc

    def _look_at_each(self, services: Sequence[Service], deadline: Deadline) -> EngineSnapshot:
        seen: dict[str, ObservedService] = {}
        unseen: dict[str, UiciError] = {}
        for service in services:
            try:
                seen[service.target] = self._look(service, deadline)
            except _BLIND as exc:
                unseen[service.target] = exc
        if unseen and not seen:
            raise next(iter(unseen.values()))
        told = {target: str(exc) for target, exc in unseen.items()}
        return EngineSnapshot(self.environment, seen, unseen=told)

    def look(self, service: Service, *, timeout: float) -> ObservedService:
        """One target, now."""
        try:
            return self._look(service, Deadline(timeout))
        except STRANGE as exc:
            what = f"look at {service.target}"
            raise not_an_api_server(what, self._cluster.address) from exc

    def check(self, *, timeout: float) -> str:
        """One line about the cluster.

        Raises:
            ProtectedObjectError: every change there would be refused.
        """
        protection.refuse_blind(self._context.identity, "check")
        what = "ask the API server for its version"
        found = self._cluster.request("GET", "/version", what=what, deadline=Deadline(timeout))
        if "gitVersion" not in found:
            raise not_an_api_server(what, self._cluster.address)
        namespaces = ", ".join(self._namespaces)
        version = found["gitVersion"]
        return f"Kubernetes {version} at {self._cluster.address}, namespaces {namespaces}"

    def missing_rights(
        self, primitives: Collection[str], services: Sequence[Service] = (), *, timeout: float
    ) -> tuple[str, ...]:
        """See `executors.contract.Authorised`: by the server's own access reviews."""
        rights = permissions.needed(primitives, kinds_of(self._kinds, services))
        try:
            return permissions.missing(
                self._cluster,
                rights,
                self._namespaces,
                Deadline(timeout),
                cluster_wide=self._lister.cluster_wide,
            )
        except STRANGE as exc:
            raise not_an_api_server("review our rights", self._cluster.address) from exc

    def unserved(self, services: Sequence[Service], *, timeout: float) -> tuple[str, ...]:
        """See `executors.contract.Selective`: kinds that this version of Kubernetes lacks."""
        try:
            return permissions.unserved(
                self._cluster, kinds_of(self._kinds, services), Deadline(timeout)
            )
        except STRANGE as exc:
            raise not_an_api_server("ask for the kinds", self._cluster.address) from exc

    def close(self) -> None:
        """Release connections. Idempotent."""
        self._cluster.close()

    def _look(self, service: Service, deadline: Deadline) -> ObservedService:
        place = place_of(service, self._namespaces)
        workload, pods = self._read(service, place, deadline)
        if workload is None:
            return ObservedService(service.target)
        return self._observed(service, place, workload, pods)

    def _read(
        self, service: Service, place: Place, deadline: Deadline
    ) -> tuple[Json | None, tuple[Json, ...]]:
        """The workload and its instances; none where it is another target's."""
        workload = read_workload(self._cluster, place, deadline)
        if workload is None or not _may_be(workload, service):
            return None, ()
        pods = read_pods(self._cluster, place, workload, deadline, size=self._page_size)
        return workload, tuple(pod for pod in pods if counts(pod, place))

    def _observed(
        self, service: Service, place: Place, workload: Json, pods: Iterable[Json]
    ) -> ObservedService:
        instances = tuple(self._instance(service, place, pod) for pod in pods)
        return self._with(self._workload_alone(service, place, workload), instances)

    def _with(
        self, seen: ObservedService, instances: tuple[ObservedInstance, ...]
    ) -> ObservedService:
        """With its pods; a roll-out that lasts too long and that nobody gives up is stuck."""
        workload = seen.workload
        if workload is not None and not workload.settled and not workload.reason:
            oldest = self._now() - self._progress_deadline
            stuck = [
                i.native.name
                for i in instances
                if i.state is InstanceState.PENDING and i.started_at and i.started_at < oldest
            ]
            if stuck:
                reason = f"{stuck[0]} has not come up in {format_duration(self._progress_deadline)}"
                workload = replace(workload, reason=reason)
        return replace(seen, instances=instances, workload=workload)

    def _workload_alone(self, service: Service, place: Place, workload: Json) -> ObservedService:
        try:
            found = observed_workload(
                workload,
                place,
                self._secrets(service),
                keep_native=bool(service.spec.native),
            )
        except STRANGE as exc:
            raise not_an_api_server(f"read {place}", self._cluster.address) from exc
        return ObservedService(service.target, workload=found)

    def _instance(self, service: Service, place: Place, pod: Json) -> ObservedInstance:
        try:
            spec = observed_spec(pod, place, self._secrets(service))
            return observed_pod(
                pod, place, spec=spec, now=self._now(), keep_native=bool(service.spec.native)
            )
        except STRANGE as exc:
            raise not_an_api_server(f"read a pod of {place}", self._cluster.address) from exc

    def _secrets(self, service: Service) -> dict[str, str]:
        """Declared secrets by variable; one that can't be resolved is not compared."""
        found: dict[str, str] = {}
        for name, value in service.spec.env.items():
            if isinstance(value, SecretRef):
                try:
                    found[name] = self._context.resolve_secret(value.secret)
                except UiciError:
                    continue
        return found

    # ── everything at once ──────────────────────────────────────────────────────

    def _sweep(
        self, services: Sequence[Service], deadline: Deadline, *, all_services: bool
    ) -> EngineSnapshot:
        wanted: dict[Key, list[tuple[Service, Place]]] = defaultdict(list)
        by_kind: dict[WorkloadKind, list[str]] = defaultdict(list)
        for service in services:
            place = place_of(service, self._namespaces)
            wanted[place_key(place)].append((service, place))
            by_kind[place.kind].append(service.target)
        # A service that is no more may have been the only one of its kind.
        kinds = kinds_of(self._kinds if all_services else (), services)
        unlisted: dict[WorkloadKind, UiciError] = {}
        seen = {service.target: ObservedService(service.target) for service in services}
        strays: dict[str, NativeObject] = {}  # by uid: a list that expired tells some twice
        for kind in kinds:
            for workload in self._listed(kind, deadline, unlisted):
                key = (kind.value, str(meta(workload).get("namespace")), meta(workload)["name"])
                owners = [pair for pair in wanted.get(key, ()) if _may_be(workload, pair[0])]
                for service, place in owners:
                    seen[service.target] = self._workload_alone(service, place, workload)
                if not owners and self._is_ours(workload):
                    strays[uid(workload)] = native_of(workload, kind.value)
        if len(unlisted) == len(kinds):
            raise next(iter(unlisted.values()))
        unseen = {
            target: str(exc) for kind, exc in unlisted.items() for target in by_kind.get(kind, ())
        }
        for target, instances in self._instances(wanted, seen, deadline).items():
            seen[target] = self._with(seen[target], instances)
        found = sorted(strays.values(), key=lambda native: (native.name, native.kind))
        orphans = tuple(found) if all_services else ()
        seen = {target: each for target, each in seen.items() if target not in unseen}
        return EngineSnapshot(self.environment, seen, orphans, unseen)

    def _listed(
        self, kind: WorkloadKind, deadline: Deadline, unlisted: dict[WorkloadKind, UiciError]
    ) -> Iterator[Json]:
        """Workloads of a kind. Where it can't be listed it is in `unlisted` with the reason."""
        try:
            yield from self._lister.workloads(kind, deadline)
        except _BLIND as exc:
            unlisted[kind] = exc
            log.warning("kubernetes_kind_not_listed", kind=kind.value, error=str(exc))

    def _instances(
        self,
        wanted: Mapping[Key, Sequence[tuple[Service, Place]]],
        seen: Mapping[str, ObservedService],
        deadline: Deadline,
    ) -> dict[str, tuple[ObservedInstance, ...]]:
        """Pods of the workloads that were found, by target."""
        found: dict[str, dict[str, ObservedInstance]] = defaultdict(dict)
        if not any(service.workload is not None for service in seen.values()):
            return {}
        specs: dict[str, ObservedSpec] = {}
        for pod in self._lister.pods(deadline):
            for key in pod_keys(pod):
                for service, place in wanted.get(key, ()):
                    if seen[service.target].workload is not None and counts(pod, place):
                        made = self._instance(service, place, pod)
                        # Pods of one template have one spec: kept once, not once a pod.
                        spec = specs.setdefault(service.target, made.spec)
                        if spec == made.spec:
                            made = replace(made, spec=spec)
                        found[service.target][uid(pod)] = made
        return {
            target: tuple(sorted(instances.values(), key=lambda i: i.native.name))
            for target, instances in found.items()
        }

    def _is_ours(self, workload: Json) -> bool:
        labels = meta(workload).get("labels") or {}
        ours = labels.get(ENVIRONMENT_LABEL) == self.environment and SERVICE_LABEL in labels
        return ours and owner_of(workload) is None  # a CronJob's Jobs are the CronJob's

    # ── primitives ──────────────────────────────────────────────────────────────

    def primitives(self) -> Mapping[str, Primitive]:
        """The verbs of Kubernetes. Pods can't be frozen: there is no pause."""
        return PRIMITIVES

    def refusal(self, service: Service, primitive: str) -> str | None:
        """Why this kind has no such primitive: see `infrastructure.universal_interface.Choosy`."""
        try:
            place = place_of(service, self._namespaces)
        except PermanentError as exc:
            return str(exc)
        if (reason := _refusal(place, primitive)) is not None:
            return reason
        return secret_env.refusal(
            service,
            primitive,
            _NEEDING_ENV,
            self._context.resolve_secret,
            but=rollout.left_to_others(service),
        )

    def call(self, service: Service, call: PrimitiveCall, *, timeout: float) -> PrimitiveResult:
        """Look up, refuse what is protected, then act."""
        handler, mutates, arguments = _lookup(call)
        strange = sorted(set(call.arguments) - set(arguments))
        if strange:
            raise PermanentError(
                f"{call.primitive} takes no {', '.join(strange)}; it takes"
                f" {', '.join(arguments) or 'nothing'}"
            )
        try:
            job = self._prepare(service, call, Deadline(timeout))
            if mutates:
                protection.refuse_protected(
                    job,
                    self._context.identity,
                    own_namespace=self._protect_own_namespace,
                    page_size=self._page_size,
                )
            job = _chosen(job)
        except STRANGE as exc:  # only reads so far
            what = f"{call.primitive} {service.target}"
            raise not_an_api_server(what, self._cluster.address) from exc
        result = self._acted(handler, job, mutates=mutates)
        log.debug(
            "kubernetes_primitive",
            target=service.target,
            primitive=call.primitive,
            changed=result.changed,
        )
        return result

    def _acted(self, handler: Handler, job: Job, *, mutates: bool) -> PrimitiveResult:
        """What the procedure made of the job, whatever shape the answers had."""
        try:
            return handler(job)
        except STRANGE as exc:
            if mutates:
                raise OutcomeUnknownError(
                    f"{job.what}: {self._cluster.address} answers, but not as a Kubernetes API"
                    " server does",
                    remedy=REMEDY,
                ) from exc
            raise not_an_api_server(job.what, self._cluster.address) from exc

    def _prepare(self, service: Service, call: PrimitiveCall, deadline: Deadline) -> Job:
        place = place_of(service, self._namespaces)
        workload, pods = self._read(service, place, deadline)
        return Job(
            service=service,
            call=call,
            place=place,
            workload=workload,
            pods=pods,
            chosen=pods,
            deadline=deadline,
            cluster=self._cluster,
            policy=self._policy,
            resolve_secret=self._context.resolve_secret,
            refresh=lambda: self._read(service, place, deadline),
        )


def _may_be(workload: Json, service: Service) -> bool:
    """Whether a workload is not marked as another target's."""
    target = notes_of(workload).get(TARGET)
    return target is None or target == service.target


def _refusal(place: Place, primitive: str) -> str | None:
    kind, facts = place.kind.value, place.facts
    if primitive == "scale" and not facts.scales:
        return f"a {kind} has no number of replicas"
    if primitive == "stop" and not (facts.scales or facts.suspends):
        return f"a {kind} has no number of pods that could be set to none"
    if primitive == "update_resources" and place.kind is WorkloadKind.JOB:
        return "a Job's template can't be changed: recreate it"
    return None


def _lookup(call: PrimitiveCall) -> tuple[Handler, bool, tuple[str, ...]]:
    try:
        return _TABLE[call.primitive]
    except KeyError:
        raise PermanentError(
            f"kubernetes has no primitive {call.primitive}; it has {', '.join(sorted(_TABLE))}"
        ) from None


def _chosen(job: Job) -> Job:
    """The job with the pods that the call is about."""
    if job.call.instance is None:
        return job
    found = tuple(pod for pod in job.pods if uid(pod) == job.call.instance)
    if not found:
        raise NotFoundError(f"{job.service.target} has no such pod any more: observe again")
    return replace(job, chosen=found)
