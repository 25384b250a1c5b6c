"""A bounded share of the simulator: every seed that ever failed, fresh seeds each time, and every mutant."""

import os
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest

from semel.sim.judge import judge
from semel.sim.mutants.hunt import MUTANTS, SEEDS_MAX, Mutant, hunt
from semel.sim.report import failure, traced
from semel.sim.world import simulate

FRESH_S = float(os.environ.get("SEMEL_SIM_SECONDS", "10"))
KEPT = [
    int(line.split()[0])
    for line in Path(__file__).with_name("seeds.txt").read_text().splitlines()
    if line and not line.startswith("#")
]


def assert_nothing_is_found(seed: int) -> None:
    run = simulate(seed)
    found = judge(run)
    if found:
        pytest.fail(f"{failure(run, found)}\n\n{traced(seed)}", pytrace=False)


@pytest.mark.parametrize("seed", KEPT)
def test_a_seed_that_once_failed_passes(seed: int) -> None:
    assert_nothing_is_found(seed)


def test_fresh_seeds_find_nothing(record_property: Callable[[str, object], None]) -> None:
    first = time.time_ns() // 1000
    deadline_s = time.monotonic() + FRESH_S
    seed = first
    while time.monotonic() < deadline_s:
        assert_nothing_is_found(seed)
        seed += 1
    record_property("figures", f"{seed - first} fresh seeds from {first}")


def test_a_seed_lives_the_same_life_every_time() -> None:
    for seed in KEPT[:3]:
        assert traced(seed) == traced(seed)


@pytest.mark.timeout(600)  # one that has become hard to catch wants thousands of seeds
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_judge_sees_a_core_that(mutant: Mutant) -> None:
    assert hunt(mutant, chain(KEPT, range(SEEDS_MAX))) is not None, f"survived {SEEDS_MAX} seeds"
