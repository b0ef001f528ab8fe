"""The root causes that a diagnosis can name: a closed list, so that they can be counted."""

from enum import StrEnum


class CauseKind(StrEnum):
    """One word a cause; free text beside it is for people."""

    REMOVED = "Removed"  # somebody or something took the instances away
    STOPPED = "Stopped"  # the process ended or was stopped, and nothing else is known
    CHANGED_BY_HAND = "ChangedByHand"  # what runs was changed past Git
    CHANGED_IN_GIT = "ChangedInGit"  # it does not run yet, or all was well until it was declared
    CRASH = "Crash"  # the process itself fails, again and again or once
    HANGING = "Hanging"  # it runs and does not answer, or answers wrongly
    OUT_OF_MEMORY = "OutOfMemory"
    OVERLOADED = "Overloaded"  # more work than its resources allow
    DEPENDENCY_DOWN = "DependencyDown"
    BAD_CONFIGURATION = "BadConfiguration"
    SECRET_DIFFERS = "SecretDiffers"  # noqa: S105 - a name, too; rotated, or wrong on one side
    MISSING_SECRET = "MissingSecret"  # noqa: S105 - the name of a cause
    PERMISSION_DENIED = "PermissionDenied"
    DISK_FULL = "DiskFull"
    PORT_IN_USE = "PortInUse"
    DNS_FAILURE = "DnsFailure"
    TLS_FAILURE = "TlsFailure"
    NETWORK_FAILURE = "NetworkFailure"
    IMAGE_UNAVAILABLE = "ImageUnavailable"
    NO_CAPACITY = "NoCapacity"  # the place has no room for it
    FALSE_ALARM = "FalseAlarm"  # monitoring is wrong; the service works
    UNKNOWN = "Unknown"
