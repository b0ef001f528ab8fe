"""The controllers of the cluster in memory: each pass moves the world one step.

As in a real cluster everything is asynchronous: a request changes a spec, a later pass
reacts, a pass after that reports.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Iterable
from typing import Any

from tests.fakes.kubernetes_server.kubelet import next_status
from tests.fakes.kubernetes_server.store import Store, now, owners

Json = dict[str, Any]
_REVISION = "deployment.kubernetes.io/revision"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_CONTROLLER = "kube-controller-manager"


class Controllers:
    """One pass of every controller, under the store's lock.

    Attributes:
        frozen: no kubelet reports anything while it is set.
        unschedulable: pods made now find no node.
    """

    def __init__(self, store: Store) -> None:
        self.quota = ""  # why no pod of a Deployment may be made now
        self.store = store
        self.frozen = False
        self.unschedulable = False

    def run(self) -> None:
        """One pass."""
        with self.store.lock:
            for deployment in self.store.all("deployments"):
                self._deployment(deployment)
            for item in self.store.all("replicasets"):
                self._replica_set(item)
            for item in self.store.all("statefulsets"):
                self._stateful_set(item)
            for item in self.store.all("daemonsets"):
                self._daemon_set(item)
            for item in self.store.all("jobs"):
                self._job(item)
            if not self.frozen:
                self._kubelet()

    # ── deployments ─────────────────────────────────────────────────────────────

    def _deployment(self, item: Json) -> None:
        spec, metadata = item["spec"], item["metadata"]
        sets = self._owned("replicasets", item)
        current = next((s for s in sets if _template(s) == spec["template"]), None)
        newest = max((_revision(s) for s in sets), default=0)
        if current is None or _revision(current) < newest:
            current = self._new_revision(item, current, newest + 1)
            sets = self._owned("replicasets", item)
        if metadata.get("annotations", {}).get(_REVISION) != str(_revision(current)):
            self._note(item, "deployments", str(_revision(current)))
        old = [s for s in sets if s["metadata"]["uid"] != current["metadata"]["uid"]]
        wanted = int(spec["replicas"])
        self._roll(current, old, wanted, spec.get("strategy") or {})
        pods = {s["metadata"]["name"]: self._owned("pods", s) for s in sets}
        everything = [pod for found in pods.values() for pod in _alive(found)]
        available = sum(map(_ready, everything))
        updated = len(_alive(pods.get(current["metadata"]["name"], [])))
        status: Json = {
            "observedGeneration": metadata["generation"],
            "conditions": [
                {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"},
                {"type": "Available", "status": "True" if available >= wanted else "False"},
            ],
        }
        counts = {
            "replicas": len(everything),
            "updatedReplicas": updated,
            "readyReplicas": available,
            "availableReplicas": available,
        }
        status |= {name: count for name, count in counts.items() if count}
        if self.quota and len(everything) < wanted:
            refused = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate"}
            status["conditions"].append({**refused, "message": self.quota})
        self.store.status("deployments", metadata["namespace"], metadata["name"], status)

    def _new_revision(self, item: Json, known: Json | None, number: int) -> Json:
        """A ReplicaSet for the template; one that had it before becomes the newest again."""
        namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
        if known is not None:
            self._note(known, "replicasets", str(number))
            return self.store.get("replicasets", namespace, known["metadata"]["name"])
        template = item["spec"]["template"]
        suffix = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
        labels = {**template["metadata"]["labels"], "pod-template-hash": suffix}
        return self.store.create(
            "replicasets",
            {
                "metadata": {
                    "name": f"{name}-{suffix}",
                    "namespace": namespace,
                    "labels": labels,
                    "annotations": {_REVISION: str(number)},
                    "ownerReferences": [_reference(item)],
                },
                "spec": {
                    "replicas": 0,
                    "selector": {"matchLabels": labels},
                    "template": {
                        **template,
                        "metadata": {**template["metadata"], "labels": labels},
                    },
                },
            },
            manager=_CONTROLLER,
        )

    def _roll(self, current: Json, old: list[Json], wanted: int, strategy: Json) -> None:
        rolling = strategy.get("rollingUpdate") or {}
        surge = _share(rolling.get("maxSurge", "25%"), wanted, math.ceil)
        unavailable = _share(rolling.get("maxUnavailable", "25%"), wanted, math.floor)
        total = sum(int(s["spec"]["replicas"]) for s in (current, *old))
        have = int(current["spec"]["replicas"])
        if not any(int(s["spec"]["replicas"]) for s in old) or wanted == 0:
            grown = wanted
        else:
            grown = min(wanted, have + max(0, wanted + surge - total))
        self._resize(current, grown)
        if grown != have:
            return  # the old ones are looked at again in the next pass
        ready = {
            s["metadata"]["uid"]: sum(map(_ready, _alive(self._owned("pods", s))))
            for s in (current, *old)
        }
        least = wanted - unavailable
        # Pods that never came up go first, but none for which there is no other yet.
        missing = have - ready[current["metadata"]["uid"]]
        room = total - least - missing
        for item in old:
            here = int(item["spec"]["replicas"])
            less = max(0, min(room, here - ready[item["metadata"]["uid"]]))
            room -= less
            self._resize(item, here - less)
        spare = sum(ready.values()) - least if wanted else total
        for item in old:
            found = self.store.get("replicasets", *_name(item))
            here = int(found["spec"]["replicas"])
            less = max(0, min(spare, here))
            spare -= less
            self._resize(found, here - less)

    def _resize(self, item: Json, replicas: int) -> None:
        if int(item["spec"]["replicas"]) == replicas:
            return

        def edit(found: Json) -> None:
            found["spec"]["replicas"] = replicas

        metadata = item["metadata"]
        self.store.change(
            "replicasets", metadata["namespace"], metadata["name"], edit, manager=_CONTROLLER
        )

    def _note(self, item: Json, plural: str, revision: str) -> None:
        def edit(found: Json) -> None:
            found["metadata"].setdefault("annotations", {})[_REVISION] = revision

        metadata = item["metadata"]
        self.store.change(
            plural, metadata["namespace"], metadata["name"], edit, manager=_CONTROLLER
        )

    # ── what makes pods ─────────────────────────────────────────────────────────

    def _replica_set(self, item: Json) -> None:
        wanted, name = int(item["spec"]["replicas"]), item["metadata"]["name"]
        pods = _alive(self._owned("pods", item))
        for _ in range(0 if self.quota else wanted - len(pods)):
            self._pod(item, f"{name}-{''.join(random.choices(_LETTERS, k=5))}")
        surplus = sorted(pods, key=lambda p: (_ready(p), p["metadata"]["creationTimestamp"]))
        for pod in surplus[: max(0, len(pods) - wanted)]:
            self._end(pod)

    def _stateful_set(self, item: Json) -> None:
        wanted, name = int(item["spec"]["replicas"]), item["metadata"]["name"]
        revision = self._revision_of(item)
        pods = {p["metadata"]["name"]: p for p in self._owned("pods", item)}
        names = [f"{name}-{number}" for number in range(wanted)]
        for pod in sorted(pods.keys() - set(names)):
            self._end(pods[pod])
        for pod in names:
            if pod not in pods:
                self._pod(item, pod, revision)
                break
            if not _ready(pods[pod]) and _of(pods[pod], revision):
                break
        else:
            outdated = [pod for pod in reversed(names) if not _of(pods[pod], revision)]
            if outdated and _rolls(item):
                self._end(pods[outdated[0]])
        alive = [pods[pod] for pod in names if pod in pods]
        updated = sum(_of(pod, revision) for pod in alive)
        done = updated == wanted
        self._report(
            item,
            "statefulsets",
            {
                "replicas": len(pods),
                "readyReplicas": sum(map(_ready, alive)),
                "updatedReplicas": updated,
                "updateRevision": revision,
                "currentRevision": revision if done else "before",
            },
        )

    def _daemon_set(self, item: Json) -> None:
        revision = self._revision_of(item)
        pods = self._owned("pods", item)
        if not pods:
            name = f"{item['metadata']['name']}-{''.join(random.choices(_LETTERS, k=5))}"
            self._pod(item, name, revision)
        elif not _of(pods[0], revision) and _rolls(item):
            self._end(pods[0])
        self._report(
            item,
            "daemonsets",
            {
                "desiredNumberScheduled": 1,
                "updatedNumberScheduled": sum(_of(pod, revision) for pod in pods),
                "numberAvailable": sum(map(_ready, pods)),
            },
        )

    def _job(self, item: Json) -> None:
        suspended = item["spec"].get("suspend")
        pods = self._owned("pods", item)
        if suspended:
            for pod in pods:
                self._end(pod)
        elif not pods:
            letters = "".join(random.choices(_LETTERS, k=5))
            self._pod(item, f"{item['metadata']['name']}-{letters}")
        status = {"active": len(pods), "ready": sum(map(_ready, pods))}
        if not (item.get("status") or {}).get("conditions"):  # it is over
            self.store.status("jobs", *_name(item), status)  # the generation is not told

    def _report(self, item: Json, plural: str, status: Json) -> None:
        metadata = item["metadata"]
        told = {"observedGeneration": metadata["generation"], **status}
        self.store.status(plural, metadata["namespace"], metadata["name"], told)

    def _revision_of(self, item: Json) -> str:
        """The newest ControllerRevision of a workload; made if the template is a new one."""
        template = item["spec"]["template"]
        known = sorted(self._owned("controllerrevisions", item), key=lambda r: r["revision"])
        for found in known:
            if found["data"]["spec"]["template"] == template:
                if found is not known[-1]:
                    number = known[-1]["revision"] + 1
                    self._renumber(found, number)
                return str(found["metadata"]["name"])
        number = known[-1]["revision"] + 1 if known else 1
        made = self.store.create(
            "controllerrevisions",
            {
                "metadata": {
                    "name": (name := f"{item['metadata']['name']}-{number:08x}"),
                    "labels": {"controller-revision-hash": name},
                    "namespace": item["metadata"]["namespace"],
                    "ownerReferences": [_reference(item)],
                },
                "revision": number,
                "data": {"spec": {"template": template}},
            },
            manager=_CONTROLLER,
        )
        return str(made["metadata"]["name"])

    def _renumber(self, item: Json, number: int) -> None:
        def edit(found: Json) -> None:
            found["revision"] = number

        metadata = item["metadata"]
        self.store.change(
            "controllerrevisions",
            metadata["namespace"],
            metadata["name"],
            edit,
            manager=_CONTROLLER,
        )

    def _pod(self, owner: Json, name: str, revision: str = "") -> None:
        template = owner["spec"]["template"]
        metadata = dict(template.get("metadata") or {})
        labels = dict(metadata.get("labels") or {})
        if revision:
            labels["controller-revision-hash"] = revision
        self.store.create(
            "pods",
            {
                "metadata": {
                    **metadata,
                    "labels": labels,
                    "name": name,
                    "namespace": owner["metadata"]["namespace"],
                    "ownerReferences": [_reference(owner)],
                },
                "spec": dict(template["spec"]),
                "status": {"phase": "Pending"},
            },
            manager=_CONTROLLER,
        )

    def _end(self, pod: Json) -> None:
        """Ask for its end; the kubelet removes it in a later pass."""
        metadata = pod["metadata"]
        if metadata.get("deletionTimestamp"):
            return

        def edit(found: Json) -> None:
            found["metadata"]["deletionTimestamp"] = now()

        self.store.change("pods", metadata["namespace"], metadata["name"], edit, manager="kubelet")

    # ── the kubelet ─────────────────────────────────────────────────────────────

    def _kubelet(self) -> None:
        for pod in self.store.all("pods"):
            metadata = pod["metadata"]
            where = (metadata["namespace"], metadata["name"])
            if metadata.get("deletionTimestamp"):
                self.store.delete("pods", *where)
                continue
            if self.unschedulable and not pod["status"].get("containerStatuses"):
                condition = {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "0/1 nodes are available: 1 Insufficient memory.",
                }
                status: Json | None = {"phase": "Pending", "conditions": [condition]}
            else:
                status = next_status(pod, now=now())
            if status is not None:
                self.store.status("pods", *where, status)

    def _owned(self, plural: str, owner: Json) -> list[Json]:
        uid = owner["metadata"]["uid"]
        found = self.store.all(plural, owner["metadata"]["namespace"])
        return [item for item in found if uid in owners(item)]


def _name(item: Json) -> tuple[str, str]:
    return item["metadata"]["namespace"], item["metadata"]["name"]


def _template(item: Json) -> Json:
    """A ReplicaSet's template without what makes it this one's."""
    template: Json = json.loads(json.dumps(item["spec"]["template"]))
    template["metadata"]["labels"].pop("pod-template-hash", None)
    return template


def _rolls(item: Json) -> bool:
    strategy = item["spec"].get("updateStrategy") or {}
    return bool(strategy.get("type", "RollingUpdate") == "RollingUpdate")


def _revision(item: Json) -> int:
    return int(item["metadata"]["annotations"][_REVISION])


def _share(text: Any, of: int, rounding: Any) -> int:
    if isinstance(text, str) and text.endswith("%"):
        return int(rounding(of * int(text[:-1]) / 100))
    return int(text)


def _alive(pods: Iterable[Json]) -> list[Json]:
    return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]


def _ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _of(pod: Json, revision: str) -> bool:
    return bool(pod["metadata"]["labels"].get("controller-revision-hash") == revision)


def _reference(item: Json) -> Json:
    return {
        "apiVersion": item["apiVersion"],
        "kind": item["kind"],
        "name": item["metadata"]["name"],
        "uid": item["metadata"]["uid"],
        "controller": True,
    }
