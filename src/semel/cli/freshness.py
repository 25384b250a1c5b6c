"""How old what is shown is, in words. Knows times in seconds; knows nothing of nodes."""

STALE_S = 3.0
"""A node looks at its log every second; a sign that is older says that the log is out of its reach."""


def ago(age_s: float) -> str:
    """Return how long ago something was, as people say it."""
    if age_s < 60:
        return f"{age_s:.1f} s ago" if age_s < 10 else f"{age_s:.0f} s ago"
    return f"{age_s / 60:.0f} min ago" if age_s < 7200 else f"{age_s / 3600:.0f} h ago"


def freshness(position: int, log_age_s: float, *, linearizable: bool) -> str:
    """Return as of when something is that a node shows."""
    if log_age_s > STALE_S:
        return f"as of position {position}; the log has not been reached for {log_age_s:.0f} s"
    if linearizable:
        return f"as of position {position}, linearizable: nothing older than the question is missing"
    return f"as of position {position}; the log was last heard {ago(log_age_s)}"
