"""Wires that are cut, one way or both, or are bad: the side with the majority serves, and no promise breaks.

Each scene is played under load, heals, and ends with the judge over all that was asked, told, logged and done.
"""

import pytest

from semel.core.call import Status
from tests.hosts.conftest import Stage
from tests.hosts.hosts import MEMBER_PORT, MEMBERS_PORT, NAMES, NODE_PORT, others
from tests.hosts.scene import Scene
from tests.processes.cluster import until

SHORT_S = 2.0
"""Time for a caller who is not expected to be answered."""
RUN_S = 5.0
"""A tool that runs so long is still running when another node leads."""


def test_a_call_that_ran_on_a_leader_that_was_cut_off_is_in_doubt_until_its_outcome_settles_it(stage: Stage) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.under_load():
            old = await scene.hosts.leader()
            slow, fresh = scene.key("slow"), scene.key("fresh")
            running = scene.asking(old, "append", slow, after_s=RUN_S)
            await scene.has_acted(slow)
            with scene.hosts.cut(old):
                new = await scene.new_leader(old)
                await scene.is_said(new, slow, "in_doubt")
                await scene.serves(*others(old))
                scene.load.apart.add(fresh)  # a caller that repeats it at the majority would have it run
                told = await scene.ask(old, "append", fresh, patience_s=SHORT_S)
                assert told.told is None, f"a minority answered: {told}"
                assert not scene.acted(fresh)
            for name in NAMES:
                await scene.is_said(name, slow, "ok", limit_s=RUN_S + 15)
            await running

    stage(scenario)


def test_a_leader_that_reaches_its_peers_and_not_etcd_makes_room(stage: Stage) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.under_load():
            old = await scene.hosts.leader()
            with scene.hosts.cut(old, MEMBER_PORT, MEMBERS_PORT):
                await scene.new_leader(old)
                await scene.serves(*others(old))
            await scene.serves(old)

    stage(scenario)


def test_a_leader_that_reaches_etcd_and_not_its_peers_still_serves_who_asks_it(stage: Stage) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.under_load():
            leader = await scene.hosts.leader()
            with scene.hosts.cut(leader, NODE_PORT):
                await scene.serves(await scene.hosts.leader())
            await scene.serves(*NAMES)

    stage(scenario)


@pytest.mark.parametrize("way", ["deafen", "mute"])
def test_a_leaders_host_that_is_cut_off_one_way_makes_room(stage: Stage, way: str) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.under_load():
            old = await scene.hosts.leader()
            with getattr(scene.hosts, way)(old):
                await scene.new_leader(old)
                await scene.serves(*others(old))
            await scene.serves(old)

    stage(scenario)


def test_wires_that_lose_and_delay_slow_the_service_and_break_nothing(stage: Stage) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.under_load():
            with scene.hosts.network.bad(loss=0.02, delay_ms=10, jitter_ms=10):
                answered = len(scene.answers())
                await until(lambda: len(scene.answers()) > answered + 20, limit_s=30, what="some calls to be answered")

    stage(scenario)


def test_whoever_asks_while_no_majority_is_in_reach_is_told_so_and_served_after_it(stage: Stage) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.under_load():
            key = scene.key("nobody")
            with scene.hosts.network.cut([1], [2, 3]), scene.hosts.network.cut([2], [3]):
                told = await scene.ask("h1", "append", key, patience_s=SHORT_S)
                assert told.told is None, f"a minority answered: {told}"
                assert not scene.acted(key)
            told = await scene.ask("h1", "append", key)
            assert told.told is not None
            assert told.told.outcome == Status.OK

    stage(scenario)
