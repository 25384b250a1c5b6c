"""A short run of `make bench`: every kind of leader is killed once, and everything is measured a few times."""

from pathlib import Path

import pytest

from tests.bench.__main__ import bench
from tests.processes.etcd import why_no_etcd


@pytest.mark.anyio
@pytest.mark.timeout(180)
async def test_the_measurements_can_be_made_and_break_no_promise(tmp_path: Path) -> None:
    if why := why_no_etcd():
        pytest.skip(why)
    parts = await bench(tmp_path, rounds=1, kills=1, seed=1)
    assert "promises broken: none" in parts[-1]
