"""What befalls one host and must not be noticed: a full disk under etcd, a member replaced, a clock an hour off.

Each scene is played under load, ends when all is well again, and then the judge compares all that was asked, told,
logged and done.
"""

import asyncio

import pytest

from tests.hosts.clock import Clock
from tests.hosts.conftest import Stage
from tests.hosts.disk import full, small_disk
from tests.hosts.hosts import NAMES, others
from tests.hosts.namespace import Refused
from tests.hosts.scene import Scene
from tests.processes.cluster import until

HOUR_S = 3600
LARGE, LARGE_BYTES = 48, 200_000
"""So much, and as much again in results, is more than the tail that semel keeps in etcd."""


def test_a_full_disk_under_an_etcd_member_costs_that_member_only(stage: Stage) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.under_load():
            victim = await scene.hosts.members.leader()
            await scene.hosts.kill(victim, nodes=False)
            with small_disk(scene.hosts.members.data(victim)):
                await scene.hosts.restart(victim)
                await scene.hosts.members.be_ready(victim)
                with full(scene.hosts.members.data(victim)):
                    await scene.serves(*NAMES)
                    await scene.hosts.members.gives_up(victim)
                    await scene.serves(*NAMES)
                await scene.hosts.restart(victim)
                await scene.hosts.members.be_ready(victim)
                await scene.hosts.kill(victim, nodes=False)
            await scene.hosts.restart(victim)

    try:
        stage(scenario)
    except Refused as refusal:
        pytest.skip(f"no small disk can be mounted here: {refusal}")


def test_an_etcd_member_is_replaced_by_an_empty_one(stage: Stage) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.under_load():
            victim = await scene.hosts.members.leader()
            await scene.hosts.kill(victim, nodes=False)
            await scene.hosts.members.replace(victim, through=others(victim)[0])
            await scene.serves(*NAMES)

    stage(scenario)


def test_clocks_that_jump_by_an_hour_are_no_reason_for_anything(stage: Stage) -> None:
    """The nodes' clocks: those of etcd's members cannot be moved alone."""

    async def scenario(scene: Scene) -> None:
        nodes = scene.hosts.nodes
        async with scene.under_load():
            for name in NAMES:
                nodes.clocks[name] = Clock(nodes.folder / name / "clock")
                await scene.hosts.kill(name, members=False)
                await scene.hosts.restart(name)
                await scene.hosts.be_ready()
            for jump_s in (HOUR_S, -HOUR_S):
                leader = await scene.hosts.leader()
                nodes.clocks[leader].move(jump_s)
                await scene.serves(leader, *others(leader))
                await scene.hosts.kill(leader, members=False)  # who leads next has another time than the log's
                await scene.serves(*others(leader))
                nodes.clocks[leader].move(0)
                await scene.hosts.restart(leader)
                await scene.hosts.be_ready()

    stage(scenario)


def test_a_follower_that_was_cut_off_while_the_log_was_trimmed_goes_on_from_a_snapshot(stage: Stage) -> None:
    async def scenario(scene: Scene) -> None:
        async with scene.under_load():
            leader = await scene.hosts.leader()
            follower = others(leader)[0]
            with scene.hosts.cut(follower):
                read = (await asyncio.to_thread(scene.hosts.nodes.status, follower))["position"]
                keys = [scene.key(f"large-{number}") for number in range(LARGE)]
                for asked in [scene.asking(leader, "store", key, line="x" * LARGE_BYTES) for key in keys]:
                    assert (await asked).told is not None, asked
                await until(
                    lambda: scene.hosts.members.oldest(leader) > read + 1, limit_s=30, what="the log to be trimmed"
                )
            await scene.serves(follower)

    stage(scenario)
