"""MCP's conformance suite, through a follower and again after a failover; what falls short is listed, with reasons."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conformance.expected import DIRECT, SEMEL, TASKS
from tests.conformance.install import Suite, install
from tests.conformance.run import VERSIONS, Required, Result, results, shortfalls
from tests.conformance.through import WAYS, direct
from tests.peers.peer import NotInstallable
from tests.ports import free_port

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(420)]

SCORED = {"2026-07-28": 37, "2025-11-25": 30}
"""How many scenarios count, for a server: as frozen in the suite."""


@pytest.fixture(scope="module")
def suite() -> Suite:
    try:
        return install()
    except NotInstallable as error:
        pytest.skip(f"the conformance suite cannot be had: {error}")


def assert_as_expected(found: list[Result], expected: Mapping[str, str]) -> None:
    short = shortfalls(found)
    new = {scenario: said for scenario, said in short.items() if scenario not in expected}
    stale = expected.keys() - short.keys()
    assert not new, f"these fall short: {new}"
    assert not stale, f"these are passed, take them from tests/conformance/expected.py: {sorted(stale)}"


def assert_all_scored_ran(suite: Suite, version: str, found: list[Result]) -> None:
    scored = Required.read(suite, version).scored
    assert len(scored) == SCORED[version]
    assert set(scored) <= {it.scenario for it in found}


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_server_that_the_scenarios_call_has_all_that_they_ask_for(
    version: str, suite: Suite, tmp_path: Path
) -> None:
    async with direct(tmp_path) as url:
        found = await results(suite, url, version)
    assert_all_scored_ran(suite, version, found)
    assert_as_expected(found, DIRECT[version])
    assert sum(it.ok for it in found if not it.unscored) == SCORED[version]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("way", ["follower", "failover"])
async def test_semel_serves_mcp_as_the_suite_asks(way: str, version: str, suite: Suite, tmp_path: Path) -> None:
    async with WAYS[way](tmp_path) as url:
        found = await results(suite, url, version)
    assert_all_scored_ran(suite, version, found)
    assert_as_expected(found, SEMEL[version])


@pytest.mark.parametrize("way", ["follower", "failover"])
async def test_semel_has_tasks_as_the_suite_asks(way: str, suite: Suite, tmp_path: Path) -> None:
    version = "2026-07-28"
    async with WAYS[way](tmp_path) as url:
        found = await results(suite, url, version, Required.read(suite, version).extensions)
    assert_as_expected(found, TASKS)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_server_that_is_not_there_passes_nothing(version: str, suite: Suite) -> None:
    found = await results(suite, f"http://127.0.0.1:{free_port()}/mcp", version)
    assert_all_scored_ran(suite, version, found)
    assert shortfalls(found).keys() >= set(Required.read(suite, version).scored)
