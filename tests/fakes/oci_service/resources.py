"""Things of Oracle Cloud with lifecycles that take (a short) time.

Nothing runs in the background: each look at a thing first lets happen what is due.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
TENANCY = "ocid1.tenancy.oc1..aaaatenancy"
COMPARTMENT = "ocid1.compartment.oc1..aaaacompartment"
SUBNET = "ocid1.subnet.oc1.phx.aaaasubnet"
DOMAIN = "Uocm:PHX-AD-1"
_numbers = itertools.count(1)


def ocid(kind: str) -> str:
    """A new id, as long as real ones."""
    return f"ocid1.{kind}.oc1.phx.{next(_numbers):060x}"


def now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


@dataclass
class Thing:
    """One resource: its JSON, and what is going to happen to it."""

    data: Json
    etag: int = 1
    plans: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def state(self) -> str:
        return str(self.data["lifecycleState"])

    def become(self, state: str, **more: Any) -> None:
        self.data.update(lifecycleState=state, timeUpdated=now(), **more)
        self.etag += 1

    def later(self, seconds: float, what: Callable[[], None]) -> None:
        self.plans.append((time.monotonic() + seconds, what))

    def settle(self) -> None:
        """Let happen what is due."""
        while self.plans and self.plans[0][0] <= time.monotonic():
            self.plans.pop(0)[1]()


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """The service answers with an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def incorrect_state(thing: Thing) -> Refused:
    return Refused(409, "IncorrectState", f"{thing.data['displayName']} is currently {thing.state}")


class Region:
    """Everything that there is. `transition`: seconds that a change of state takes."""

    def __init__(self, transition: float) -> None:
        self.transition = transition
        self.instances: dict[str, Thing] = {}
        self.pools: dict[str, Thing] = {}
        self.members: dict[str, list[str]] = {}
        self.configurations: dict[str, Json] = {}
        self.machines: dict[str, Thing] = {}
        self.containers: dict[str, Thing] = {}
        self.vnics: dict[str, Json] = {}
        self.attachments: list[Json] = []
        self.work: dict[str, Thing] = {}
        self.commands: dict[str, Json] = {}
        self.command_end = "SUCCEEDED"  # the state in which they all end
        self.tells_pool_work = False  # the reference names no work request for a pool's actions
        self.logs: dict[str, str] = {}  # container → what it wrote
        self.entries: list[Json] = []  # of the Logging service
        self.metrics: dict[tuple[str, str], float] = {}  # (metric, OCID) → value
        self.missing_images: set[str] = set()
        self.broken_commands: set[tuple[str, ...]] = set()

    def settle(self) -> None:
        stores = (self.instances, self.pools, self.machines, self.containers, self.work)
        for store in stores:
            for thing in list(store.values()):
                thing.settle()

    # ── work requests ───────────────────────────────────────────────────────────

    def begin(self, operation: str, thing: Thing, seconds: float, *, error: str = "") -> str:
        """Work that will have succeeded (or failed) after `seconds`."""
        work = Thing(
            {
                "id": ocid("coreservicesworkrequest"),
                "operationType": operation,
                "status": "ACCEPTED",
                "lifecycleState": "",
                "compartmentId": thing.data["compartmentId"],
                "resources": [
                    {"entityType": "resource", "actionType": "IN_PROGRESS", "identifier": thing.id}
                ],
                "percentComplete": 0.0,
                "timeAccepted": now(),
                "error": error,
            }
        )
        work.later(seconds / 2, lambda: work.data.update(status="IN_PROGRESS", percentComplete=50))
        end = {"status": "FAILED" if error else "SUCCEEDED", "timeFinished": now()}
        work.later(
            seconds, lambda: work.data.update(**end, percentComplete=50.0 if error else 100.0)
        )
        self.work[work.id] = work
        return work.id

    # ── compute ─────────────────────────────────────────────────────────────────

    def add_instance(self, name: str, **more: Any) -> Thing:
        """A running instance that somebody made."""
        thing = Thing(
            {
                "id": ocid("instance"),
                "displayName": name,
                "compartmentId": COMPARTMENT,
                "availabilityDomain": DOMAIN,
                "lifecycleState": "RUNNING",
                "region": "phx",
                "shape": "VM.Standard.E4.Flex",
                "shapeConfig": {"ocpus": 1.0, "vcpus": 2, "memoryInGBs": 16.0},
                "sourceDetails": {"sourceType": "image", "imageId": "ocid1.image.oc1.phx.aaaa"},
                "freeformTags": {},
                "definedTags": {},
                "timeCreated": now(),
                **more,
            }
        )
        self.instances[thing.id] = thing
        vnic = self.add_vnic(SUBNET)
        self.attachments.append(
            {
                "id": ocid("vnicattachment"),
                "instanceId": thing.id,
                "compartmentId": thing.data["compartmentId"],
                "availabilityDomain": DOMAIN,
                "lifecycleState": "ATTACHED",
                "subnetId": SUBNET,
                "vnicId": vnic,
                "timeCreated": now(),
            }
        )
        return thing

    def add_vnic(self, subnet: str, **more: Any) -> str:
        number = next(_numbers)
        vnic = ocid("vnic")
        self.vnics[vnic] = {
            "id": vnic,
            "subnetId": subnet,
            "privateIp": f"10.0.{number // 250 % 250}.{number % 250 + 1}",
            "lifecycleState": "AVAILABLE",
            "isPrimary": True,
            "nsgIds": [],
            **more,
        }
        return vnic

    def power(self, thing: Thing, action: str) -> None:
        """InstanceAction: refused while in transition or where it makes no sense."""
        allowed = {
            "START": ("STOPPED",),
            "STOP": ("RUNNING",),
            "SOFTSTOP": ("RUNNING",),
            "RESET": ("RUNNING",),
            "SOFTRESET": ("RUNNING",),
        }
        if action not in allowed:
            raise Refused(400, "InvalidParameter", f"action {action} is not valid")
        if thing.state not in allowed[action]:
            raise incorrect_state(thing)
        half = self.transition / 2
        if action == "START":
            thing.become("STARTING")
            thing.later(self.transition, lambda: thing.become("RUNNING"))
        elif action.endswith("STOP"):
            thing.become("STOPPING")
            thing.later(self.transition, lambda: thing.become("STOPPED"))
        else:
            thing.become("STOPPING")
            thing.later(half, lambda: thing.become("STARTING"))
            thing.later(half * 2, lambda: thing.become("RUNNING"))

    def update_instance(self, thing: Thing, body: Json) -> str:
        if thing.state not in ("RUNNING", "STOPPED"):
            raise incorrect_state(thing)
        for key in ("displayName", "freeformTags", "definedTags"):
            if key in body:
                thing.data[key] = body[key]
        shape = dict(body.get("shapeConfig") or {})
        if shape:
            if "vcpus" in shape:
                shape["ocpus"] = shape["vcpus"] / 2
            thing.data["shapeConfig"] = {**thing.data["shapeConfig"], **shape}
            if thing.state == "RUNNING":
                self.power(thing, "SOFTRESET")
        thing.etag += 1
        return self.begin("UpdateInstance", thing, self.transition / 2)

    # ── pools ───────────────────────────────────────────────────────────────────

    def add_pool(self, name: str, size: int, **more: Any) -> Thing:
        """A running pool that somebody made, with its instances."""
        configuration = ocid("instanceconfiguration")
        self.configurations[configuration] = {
            "id": configuration,
            "compartmentId": COMPARTMENT,
            "displayName": name,
            "instanceDetails": {
                "instanceType": "compute",
                "launchDetails": {
                    "shape": "VM.Standard.E4.Flex",
                    "shapeConfig": {"ocpus": 1.0, "memoryInGBs": 16.0},
                    "sourceDetails": {
                        "sourceType": "image",
                        "imageId": "ocid1.image.oc1.phx.aaaa",
                    },
                },
            },
            "timeCreated": now(),
        }
        thing = Thing(
            {
                "id": ocid("instancepool"),
                "displayName": name,
                "compartmentId": COMPARTMENT,
                "instanceConfigurationId": configuration,
                "lifecycleState": "RUNNING",
                "size": size,
                "freeformTags": {},
                "definedTags": {},
                "timeCreated": now(),
                **more,
            }
        )
        self.pools[thing.id] = thing
        self.members[thing.id] = []
        self._fill(thing)
        return thing

    def _fill(self, pool: Thing) -> None:
        held = self.members[pool.id]
        while len(held) < pool.data["size"]:
            name = f"inst-{next(_numbers):05x}-{pool.data['displayName']}"
            held.append(self.add_instance(name).id)
        while len(held) > pool.data["size"]:
            self.instances[held.pop()].become("TERMINATED")
        pool.become("RUNNING")

    def resize_pool(self, pool: Thing, body: Json) -> None:
        if pool.state not in ("RUNNING", "STOPPED"):
            raise incorrect_state(pool)
        pool.data["size"] = body.get("size", pool.data["size"])
        pool.become("SCALING")
        pool.later(self.transition, lambda: self._fill(pool))

    def pool_action(self, pool: Thing, action: str) -> None:
        starting, stopping = action == "start", action in ("stop", "softstop")
        if pool.state != ("STOPPED" if starting else "RUNNING"):
            raise incorrect_state(pool)
        verb = {"start": "START", "reset": "RESET", "softreset": "SOFTRESET"}.get(action, "STOP")
        for member in self.members[pool.id]:
            self.power(self.instances[member], verb)
        end = "STOPPED" if stopping else "RUNNING"
        if starting or stopping:
            pool.become("STARTING" if starting else "STOPPING")
            pool.later(self.transition, lambda: pool.become(end))

    # ── container instances ─────────────────────────────────────────────────────

    def create_machine(self, body: Json) -> tuple[Thing, str]:
        """CreateContainerInstance: accepted, and done (or failed) later."""
        for needed in ("compartmentId", "availabilityDomain", "shape", "shapeConfig"):
            if not body.get(needed):
                raise Refused(400, "MissingParameter", f"{needed} must not be null")
        if not body.get("containers") or not body.get("vnics"):
            raise Refused(400, "InvalidParameter", "containers and vnics must not be empty")
        vnics = [self._new_vnic(vnic) for vnic in body["vnics"]]
        machine = Thing(
            {
                "id": ocid("computecontainerinstance"),
                "containerRestartPolicy": "ALWAYS",
                "freeformTags": {},
                "definedTags": {},
                **{k: v for k, v in body.items() if k not in ("containers", "vnics")},
                "displayName": body.get("displayName") or "containerinstance",
                "lifecycleState": "CREATING",
                "timeCreated": now(),
                "timeUpdated": now(),
                "containerCount": len(body["containers"]),
                "volumeCount": len(body.get("volumes") or ()),
                "vnics": [{"vnicId": vnic} for vnic in vnics],
            }
        )
        made = [self._new_container(machine, each) for each in body["containers"]]
        self.machines[machine.id] = machine
        error = self._fault(body["containers"])

        def finish() -> None:
            for container in made:
                container.become("FAILED" if error else "ACTIVE")
            machine.become("FAILED" if error else "ACTIVE", lifecycleDetails=error)

        machine.later(self.transition, finish)
        work = self.begin("CREATE_CONTAINER_INSTANCE", machine, self.transition, error=error)
        return machine, work

    def _fault(self, containers: list[Json]) -> str:
        for container in containers:
            if container["imageUrl"] in self.missing_images:
                return f"Failed to pull image {container['imageUrl']}: it was not found"
            if tuple(container.get("arguments") or ()) in self.broken_commands:
                return "A container could not be started: its program does not exist"
        return ""

    def _new_vnic(self, body: Json) -> str:
        public = {"publicIp": "192.0.2.1"} if body.get("isPublicIpAssigned") else {}
        return self.add_vnic(body["subnetId"], nsgIds=body.get("nsgIds") or [], **public)

    def _new_container(self, machine: Thing, body: Json) -> Thing:
        checks = [{**check, "status": "HEALTHY"} for check in body.get("healthChecks") or ()]
        container = Thing(
            {
                "id": ocid("computecontainer"),
                "freeformTags": {},
                "definedTags": {},
                **body,
                "healthChecks": checks or None,
                "displayName": body.get("displayName") or "container",
                "compartmentId": machine.data["compartmentId"],
                "availabilityDomain": machine.data["availabilityDomain"],
                "containerInstanceId": machine.id,
                "lifecycleState": "CREATING",
                "exitCode": None,
                "timeTerminated": None,
                "containerRestartAttemptCount": 0,
                "timeCreated": now(),
                "timeUpdated": now(),
            }
        )
        self.containers[container.id] = container
        self.logs[container.id] = "ready\n"
        return container

    def containers_of(self, machine: Thing) -> list[Thing]:
        return [c for c in self.containers.values() if c.data["containerInstanceId"] == machine.id]

    def machine_action(self, machine: Thing, action: str) -> str:
        if machine.state != ("INACTIVE" if action == "start" else "ACTIVE"):
            raise incorrect_state(machine)
        ends = "INACTIVE" if action == "stop" else "ACTIVE"
        machine.become("UPDATING")

        def finish() -> None:
            for container in self.containers_of(machine):
                ended = {"exitCode": 0, "timeTerminated": now()} if ends == "INACTIVE" else {}
                container.become(ends, **(ended or {"exitCode": None, "timeTerminated": None}))
                for check in container.data["healthChecks"] or ():
                    check["status"] = "HEALTHY"
            machine.become(ends)

        machine.later(self.transition, finish)
        return self.begin(f"{action.upper()}_CONTAINER_INSTANCE", machine, self.transition)

    def update_machine(self, machine: Thing, body: Json) -> str:
        if machine.state not in ("ACTIVE", "INACTIVE"):
            raise incorrect_state(machine)
        before = machine.state
        machine.data.update({k: v for k, v in body.items() if v is not None})
        machine.become("UPDATING")
        machine.later(self.transition / 2, lambda: machine.become(before))
        return self.begin("UPDATE_CONTAINER_INSTANCE", machine, self.transition / 2)

    def delete_machine(self, machine: Thing) -> str:
        if machine.state in ("CREATING", "UPDATING", "DELETING"):
            raise incorrect_state(machine)
        if machine.state == "DELETED":
            raise Refused(404, "NotAuthorizedOrNotFound", "the resource was not found")
        machine.become("DELETING")

        def finish() -> None:
            machine.become("DELETED")
            for container in self.containers_of(machine):
                container.become("DELETED")

        machine.later(self.transition, finish)
        return self.begin("DELETE_CONTAINER_INSTANCE", machine, self.transition)
