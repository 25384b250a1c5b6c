"""A short run of `make bench`: every kind of leader is killed once, and everything is measured a few times."""

from pathlib import Path

import pytest

from tests.bench import bar, teams
from tests.bench.__main__ import bench
from tests.bench.contest import ALL, Contestant, Window, compete, rows
from tests.bench.gateway import CALLERS, UPSTREAMS, gateway
from tests.bench.plot import Bar, svg
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
    assert len(rows) == len(UPSTREAMS) * (1 + 6 * len(CALLERS)), page  # with the heads


@pytest.mark.anyio
async def test_semel_can_be_measured_beside_bare_fsyncs_without_any_peer(tmp_path: Path) -> None:
    members = {name: teams.ONE[name] for name in (teams.SEMEL, teams.FSYNCS)}
    async with teams.team(tmp_path / "one", members) as found:
        assert not found.missing
        await compete(found.found, rounds=1, window_s=0.05)
    lines = rows(found.found).splitlines()
    assert [line.split(" | ")[1] for line in lines[2:]] == ["1", "1", "16", "64"], lines


def contestant(name: str, latency_ms: float, calls: int) -> Contestant:
    windows = {callers: [Window([latency_ms] * calls, 1.0, 0.1)] for callers in ALL}
    return Contestant(name, load=None, sessions=(), windows=windows)  # type: ignore[arg-type]


def test_the_bar_says_what_is_met_what_is_not_and_what_was_not_measured() -> None:
    found = {
        teams.SEMEL: contestant(teams.SEMEL, 1.5, 300),
        teams.TUNED: contestant(teams.TUNED, 0.5, 150),
        teams.FAST: contestant(teams.FAST, 0.5, 100),
        teams.FSYNCS: contestant(teams.FSYNCS, 0.25, 100),
    }
    said = [line.split("|")[4:6] for line in bar.table(found, {}).splitlines()[2:]]
    assert [[cell.strip() for cell in cells] for cells in said[:2]] == [
        ["**2.00 times**", "met"],
        ["**3.00 times**", "**not met**"],
    ]
    assert said[4][0].strip() == "**2.00 times**", "two milliseconds' worth of latency over two fsyncs of a quarter"
    assert "not measured: without Restate" in said[2][1]


def test_a_plot_shows_every_bar_and_names_none_in_markup() -> None:
    drawn = svg(
        "calls & rates", {"one node": [Bar("a <b>", 10.0, "10/s", ours=True), Bar("c", 1000.0, "", ours=False)]}
    )
    assert drawn.count("<rect") == 2
    assert "a &lt;b&gt;" in drawn
    assert "calls &amp; rates" in drawn
