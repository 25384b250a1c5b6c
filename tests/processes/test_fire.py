"""A short run of `make fire`: the leader is killed under load, three times."""

from pathlib import Path

import pytest

from tests.processes.fire import fire


@pytest.mark.anyio
@pytest.mark.timeout(180)
async def test_what_was_promised_holds_when_leaders_are_killed(tmp_path: Path) -> None:
    assert await fire(tmp_path, kills=3, seed=5) == 0
