from datetime import datetime

import pytest

from semel.cli.since import clock, parse_since
from semel.errors import UsageError

NOW_MS = 1_800_000_000_000


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("45s", NOW_MS - 45_000),
        ("10m", NOW_MS - 600_000),
        ("2h", NOW_MS - 7_200_000),
        ("1.5h", NOW_MS - 5_400_000),
        ("3d", NOW_MS - 3 * 86_400_000),
        ("1w", NOW_MS - 7 * 86_400_000),
        ("99999w", 0),
        ("0", 0),
        ("1700000000000", 1_700_000_000_000),
        ("2026-08-01T12:30:00Z", 1_785_587_400_000),
        ("2026-08-01T12:30:00.250+02:00", 1_785_580_200_250),
        ("2026-08-01 12:30", round(datetime(2026, 8, 1, 12, 30).timestamp() * 1000)),
        ("2026-08-01", round(datetime(2026, 8, 1).timestamp() * 1000)),
    ],
)
def test_a_time_is_an_age_a_date_a_time_or_milliseconds(text: str, expected_ms: int) -> None:
    assert parse_since(text, NOW_MS) == expected_ms


@pytest.mark.parametrize("text", ["", "yesterday", "10", "1700000000", "10y", "-5m", "2026-13-01", "1e3", "5 m"])
def test_what_is_no_time_or_could_mean_two_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="10m, 2h, 3d"):
        parse_since(text, NOW_MS)


def test_a_time_is_shown_to_the_millisecond_and_with_its_year_if_that_is_not_this_one() -> None:
    this_year_ms = round(datetime(datetime.now().year, 5, 6, 7, 8, 9).timestamp() * 1000) + 7
    assert clock(this_year_ms) == "05-06 07:08:09.007"
    assert clock(this_year_ms, date=False) == "07:08:09.007"
    assert clock(round(datetime(1999, 5, 6, 7, 8, 9).timestamp() * 1000)) == "1999-05-06 07:08:09.000"
