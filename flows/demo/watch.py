"""Following one repair from the fault to its report, and showing it on the way."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from flows.demo import proof
from flows.demo.feed import Event, Feed, Run
from flows.demo.place import AGENT, GATEWAY, PREDICTOR, Place
from flows.demo.view import View, short
from infrastructure.operations import ESCALATION_ALERT

SERVICES = frozenset({PREDICTOR, GATEWAY})
_ALERT_POLL_SECONDS = 0.5


@dataclass
class Repair:
    """What was seen of one repair. Times are seconds since the epoch."""

    broke_at: float
    drifts: list[Event] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)
    seen: set[tuple[str, ...]] = field(default_factory=set)  # drifts that are shown
    planner: str = ""
    operations: list[str] = field(default_factory=list)
    intent: str = ""
    report: str = ""
    verified_at: float | None = None
    recovered: set[str] = field(default_factory=set)

    @property
    def seconds(self) -> float | None:
        """From the fault to the verified recovery; None: not recovered."""
        return None if self.verified_at is None else self.verified_at - self.broke_at

    @property
    def detected_by(self) -> str:
        """The kinds of drift that were found, each once."""
        return ", ".join(dict.fromkeys(event.text("kind") for event in self.drifts))


class Watch:
    """Reads the agent's log and Alertmanager, and shows what belongs to our services."""

    def __init__(self, place: Place, feed: Feed, view: View) -> None:
        self._place = place
        self._feed = feed
        self._view = view
        self._alerts_asked = 0.0

    def repair(self, wanted: frozenset[str], *, broke_at: float, seconds: float) -> Repair:
        """Until each of `wanted` was verified as recovered and reported, or time is up."""
        repair = Repair(broke_at)
        run = Run()
        for event in self._feed.follow(seconds=seconds):
            if event is None:
                self._ask_for_alerts(repair)
                continue
            run.events.append(event)
            self._show(event, run, repair)
            if event.name == "run_finished":
                run = Run()
                if wanted <= repair.recovered:
                    repair.report = event.text("report_commit")
                    break
        self._show_end(repair)
        return repair

    def quiet(self, *, seconds: float) -> bool:
        """Wait for a run that finds both services as Git says, and for their alerts to end."""
        run = Run()
        for event in self._feed.follow(seconds=seconds):
            if event is None:
                continue
            run.events.append(event)
            if event.name != "run_finished":
                continue
            run.finished = event
            if is_quiet(run) and not self._firing():
                return True
            run = Run()
        return False

    def agent_alert(self, *, seconds: float, runs: int) -> tuple[str, int]:
        """Wait for the agent's own alert, and then for `runs` whole runs that see it.

        Returns:
            What fired (empty: nothing did), and how many runs left it alone.
        """
        fired = ""
        ignored: list[Event] = []
        for event in self._feed.follow(seconds=seconds):
            if event is None and not fired and self._due():
                alerts = proof.firing_alerts(self._place, AGENT)
                fired = ", ".join(alert.name for alert in alerts)
                for alert in alerts:
                    text = f"{alert.name} fires; Alertmanager tells {', '.join(alert.receivers)}"
                    self._view.row("alert", text, style="yellow", at=time.time())
            if event is not None and event.name == "agent_alert_ignored":
                ignored.append(event)
                if len(ignored) == 1:
                    text = f"{event.text('alert')} ignored: {event.text('reason')}"
                    self._view.row("agent", text, style="green", at=event.at)
                if len(ignored) >= runs and fired:
                    break
        return fired, len(ignored)

    def _show(self, event: Event, run: Run, repair: Repair) -> None:
        match event.name:
            case "drift_found" if self._is_ours(event):
                self._show_drift(event, repair)
            case "plan_made" if self._is_ours(event):
                self._show_plan(event, run, repair)
            case "verdict" if self._is_ours(event):
                self._view.verdict(event)
            case "intent_committed":
                repair.intent = repair.intent or event.text("sha")
                self._view.intent(event)
            case "operation_started" | "operation_finished" | "verified" if self._is_ours(event):
                self._show_act(event, repair)
            case "incident_closed" if event.text("result") == "recovered":
                repair.recovered |= self._members(event, run)
            case "incident_closed" if self._is_ours(event):
                self._view.row("closed", f"{event.text('result')}: {event.text('summary')}")
            case _ if event.text("level") in {"error", "critical"}:
                self._view.row("agent", f"{event.name} {event.text('error')}", style="red")

    def _show_act(self, event: Event, repair: Repair) -> None:
        """What is done to the world, what came of it, and whether that helped."""
        if event.name == "operation_started":
            self._view.begun(event)
        elif event.name == "operation_finished":
            repair.operations.append(event.text("operation"))
            self._view.operation(event)
        else:
            self._view.verification(event)
            if event.text("result") == "recovered":
                repair.verified_at = event.at

    def _show_drift(self, event: Event, repair: Repair) -> None:
        """Once, however many runs see it."""
        seen = tuple(event.text(key) for key in ("target", "kind", "field"))
        if seen not in repair.seen:
            repair.seen.add(seen)
            self._view.drift(event)

    def _show_plan(self, event: Event, run: Run, repair: Repair) -> None:
        targets = event.fields.get("targets") or [event.text("target")]
        repair.drifts += [d for d in run.all("drift_found") if d.text("target") in targets]
        repair.planner = event.text("planner")
        self._view.plan(event)

    def _members(self, closed: Event, run: Run) -> set[str]:
        """Names of the services of the incident that was closed."""
        for plan in run.all("plan_made"):
            if plan.text("incident") == closed.text("incident"):
                return {short(target) for target in plan.fields.get("targets", ())}
        return {short(closed.text("target"))}

    def _show_end(self, repair: Repair) -> None:
        if not repair.alerts:
            self._view.row("alert", "none fired: healed before one was due")
        if repair.report:
            self._view.row("report", f"commit {repair.report[:7]} on {proof.REPORTS_BRANCH}")
        if repair.seconds is not None:
            text = f"{repair.seconds:.1f} s after the fault, verified"
            self._view.row("healed", text, style="bold green")

    def _is_ours(self, event: Event) -> bool:
        return short(event.text("target")) in SERVICES

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._alerts_asked < _ALERT_POLL_SECONDS:
            return False
        self._alerts_asked = now
        return True

    def _firing(self) -> list[proof.FiringAlert]:
        """Alerts about our services; what the agent itself told people is none of them."""
        found = [a for name in sorted(SERVICES) for a in proof.firing_alerts(self._place, name)]
        return [alert for alert in found if alert.name != ESCALATION_ALERT]

    def _ask_for_alerts(self, repair: Repair) -> None:
        if not self._due():
            return
        for alert in self._firing():
            text = f"{alert.name} ({alert.service})"
            if text not in repair.alerts:
                repair.alerts.append(text)
                told = f"{text} fires; Alertmanager tells {', '.join(alert.receivers)}"
                self._view.row("alert", told, style="yellow", at=time.time())


def is_quiet(run: Run) -> bool:
    """Finished, everything known, and nothing to do or settling on our services."""
    end = run.finished
    return (
        end is not None
        and end.text("result") != "error"
        and not end.fields.get("pending")
        and not end.fields.get("unreachable")
        and not any(short(d.text("target")) in SERVICES for d in run.all("drift_found"))
    )
