"""A short run of `make bench`: every kind of leader is killed once, and everything is measured a few times."""

from pathlib import Path

import pytest

from tests.bench.__main__ import bench
from tests.bench.gateway import CALLERS, gateway
from tests.processes.etcd import why_no_etcd


@pytest.mark.anyio
@pytest.mark.timeout(180)
async def test_the_measurements_can_be_made_and_break_no_promise(tmp_path: Path) -> None:
    if why := why_no_etcd():
        pytest.skip(why)
    parts = await bench(tmp_path, rounds=1, kills=1, seed=1)
    assert "promises broken: none" in parts[-1]


@pytest.mark.anyio
async def test_every_way_to_a_tool_behind_a_gateway_can_be_measured(tmp_path: Path) -> None:
    page = await gateway(tmp_path, rounds=1, window_s=0.05)
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + 6 * len(CALLERS), page  # with the head
