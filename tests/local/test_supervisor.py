"""Children that die are started again, ever more slowly; those that are ended stay ended."""

import signal

import pytest

from semel.local import supervisor as keeping
from semel.local.supervisor import Supervisor
from tests.local.conftest import Program, until

pytestmark = pytest.mark.anyio

SLEEPS = "import time; time.sleep(60)"


async def test_a_child_that_is_killed_runs_again_and_that_is_said(
    program: Program, supervisor: Supervisor, said: list[str]
) -> None:
    child = program(SLEEPS)
    await supervisor.start(child)
    supervisor.keep(child)
    first = child.pid
    child.signal(signal.SIGKILL)
    await until(lambda: len(said) == 2, "a second start")
    assert child.runs
    assert child.pid != first
    assert said == [
        "child was ended by SIGKILL; it is started again in 0.2 s",
        f"child runs again, as process {child.pid}",
    ]


async def test_a_child_that_dies_again_and_again_is_started_ever_more_slowly_and_its_last_words_are_said(
    program: Program, supervisor: Supervisor, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "AGAIN_S", 0.001)
    monkeypatch.setattr(keeping, "AGAIN_S_MAX", 0.004)
    child = program("print('out of luck'); raise SystemExit(6)")
    await supervisor.start(child)
    supervisor.keep(child)
    deaths = await until(lambda: (found := [line for line in said if "exit code" in line])[3:] and found, "four deaths")
    assert [line.split(" in ")[1] for line in deaths[:4]] == [
        f"{delay} s (its last words: out of luck)" for delay in ("0.001", "0.002", "0.004", "0.004")
    ]


async def test_children_that_are_ended_stay_ended(program: Program, supervisor: Supervisor, said: list[str]) -> None:
    children = [program(SLEEPS, name) for name in ("one", "two")]
    for child in children:
        await supervisor.start(child)
        supervisor.keep(child)
    assert await supervisor.end(children, patience_s=20) == {"one": -signal.SIGTERM, "two": -signal.SIGTERM}
    assert not any(child.runs for child in children)
    assert said == []


async def test_killing_ends_also_what_is_not_kept_yet(program: Program, supervisor: Supervisor) -> None:
    child = program(SLEEPS)
    await supervisor.start(child)
    await supervisor.kill()
    assert not child.runs
