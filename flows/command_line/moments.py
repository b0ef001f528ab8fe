"""Moments and ages as a person at a terminal reads them; UTC. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def at_a_glance(at: datetime, now: datetime) -> str:
    """The time if it is today's, else with its date."""
    at, today = at.astimezone(UTC), now.astimezone(UTC).date()
    return f"{at:%H:%M:%SZ}" if at.date() == today else f"{at:%Y-%m-%d %H:%M:%SZ}"


def in_full(at: datetime, now: datetime) -> str:
    """Date, time and age: `2026-11-22 12:00:00Z (3 min ago)`; ahead of `now` without an age."""
    told = f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    return f"{told} ({age(now - at)} ago)" if at <= now else told


def age(span: timedelta) -> str:
    """Two units at most: 3 min, 2 h 5 min, 4 d."""
    seconds = max(0, int(span.total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days} d"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds} s"
