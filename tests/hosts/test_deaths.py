"""Hosts whose node, etcd member or both are killed or frozen: who is left serves, and no promise breaks.

Each scene is played under load, everything is started again, and the judge compares all that was asked, told, logged
and done.
"""

import asyncio

import pytest

from tests.hosts.conftest import Stage
from tests.hosts.hosts import NAMES, others
from tests.hosts.scene import FULL, Scene

FROZEN_S = 30.0 if FULL else 4.0
"""Longer than the patience of 1.5 s; `make hosts` freezes for longer than anybody waits."""


def test_the_leaders_node_is_killed(stage: Stage) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.under_load():
            old = await scene.hosts.leader()
            await scene.hosts.kill(old, members=False)
            await scene.serves(*others(old))
            await scene.hosts.restart(old)

    stage(scenario)


def test_etcds_leader_is_killed(stage: Stage) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.under_load():
            old = await scene.hosts.members.leader()
            await scene.hosts.kill(old, nodes=False)
            await scene.serves(*NAMES)
            await scene.hosts.restart(old)

    stage(scenario)


def test_all_on_the_leaders_host_is_killed_and_its_running_call_is_in_doubt(stage: Stage) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.under_load():
            old, key = await scene.hosts.leader(), scene.key("slow")
            running = scene.asking(old, "append", key, after_s=60)
            await scene.has_acted(key)
            with scene.hosts.cut(old):  # a power cut sends no farewell
                await scene.hosts.kill(old)
                new = await scene.new_leader(old)
                await scene.is_said(new, key, "in_doubt")
                await scene.serves(*others(old))
            await scene.hosts.restart(old)
            await running

    stage(scenario)


@pytest.mark.parametrize("number", [2, 3])
def test_most_hosts_are_killed_at_once_and_all_goes_on_when_they_are_back(stage: Stage, number: int) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.under_load():
            leader, key = await scene.hosts.leader(), scene.key("nobody")
            victims = [leader, *others(leader)][:number]
            await scene.hosts.kill(*victims)
            if left := [name for name in NAMES if name not in victims]:
                told = await scene.ask(left[0], "append", key, patience_s=2.0)
                assert told.told is None, f"a minority answered: {told}"
                assert not scene.acted(key)
            await scene.hosts.restart(*victims)
            await scene.hosts.be_ready()
            await scene.serves(*NAMES)

    stage(scenario)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("members", [False, True], ids=["its node", "all of it"])
def test_a_leader_that_was_frozen_while_a_call_ran_settles_its_doubt_when_it_goes_on(
    stage: Stage, members: bool
) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.under_load():
            old, key = await scene.hosts.leader(), scene.key("slow")
            running = scene.asking(old, "append", key, after_s=2)
            await scene.has_acted(key)
            with scene.hosts.frozen(old, members=members):
                thaw = asyncio.create_task(asyncio.sleep(FROZEN_S))
                new = await scene.new_leader(old)
                await scene.is_said(new, key, "in_doubt")
                await scene.serves(*others(old))
                await thaw
            for name in NAMES:
                await scene.is_said(name, key, "ok")
            await running

    stage(scenario)
