"""Points in time as people write them: an age, a date, a time, or milliseconds."""

import re
from datetime import datetime

from semel.errors import UsageError

UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
EARLIEST_MS = 10**12
"""Milliseconds before September 2001 are taken for seconds or a date by mistake."""
SINCE_HELP = "10m, 2h, 3d (so long ago), 2026-08-01, 2026-08-01T12:30 (local time unless it says), or ms since 1970"

_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")


def parse_since(text: str, now_ms: int) -> int:
    """Return the time that `text` means, in milliseconds since 1970.

    Raises:
        UsageError: it means none, or could mean two.
    """
    if age := _AGE.fullmatch(text):
        return max(0, now_ms - round(float(age[1]) * UNIT_MS[age[2]]))
    if text.isdecimal():
        if 0 < int(text) < EARLIEST_MS:
            raise UsageError(f"--since {text}: milliseconds since 1970 have 13 digits today; or write {SINCE_HELP}")
        return int(text)
    try:
        return max(0, round(datetime.fromisoformat(text).timestamp() * 1000))
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--since {text!r} is no time: write {SINCE_HELP}") from error


def clock(timestamp_ms: int, *, date: bool = True) -> str:
    """Return a time as a person here reads it, to the millisecond; the year only if it is another than this one."""
    moment = datetime.fromtimestamp(timestamp_ms / 1000)
    year = "" if moment.year == datetime.now().year else "%Y-"
    return moment.strftime(f"{year}%m-%d %H:%M:%S." if date else "%H:%M:%S.") + f"{timestamp_ms % 1000:03d}"
