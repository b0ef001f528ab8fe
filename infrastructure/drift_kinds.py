"""The ways in which the world can differ from desired state."""

from enum import StrEnum


class DriftKind(StrEnum):
    """One word a kind; the design's whole list."""

    MISSING = "Missing"
    STOPPED = "Stopped"
    CRASH_LOOPING = "CrashLooping"
    UNHEALTHY = "Unhealthy"
    CONFIG_DRIFT = "ConfigDrift"
    SCALE_DRIFT = "ScaleDrift"
    METRIC_BREACH = "MetricBreach"
    ALERT_FIRING = "AlertFiring"
    ORPHAN = "Orphan"
