"""A process of ours: its words, its end, and that it does not outlive who started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from semel.errors import ChildFailed
from semel.local.child import Child, how_it_ended
from tests.local.conftest import PATIENCE_S, Program, until

pytestmark = pytest.mark.anyio

SLEEPS = "import time; print('here', flush=True); time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('here', flush=True); time.sleep(60)"
PARENT = """
import asyncio, sys
from pathlib import Path
from semel.local.child import Child

async def main():
    child = Child("child", ["sleep", "60"], log=Path(sys.argv[1]) / "child.log")
    await child.start()
    print(child.pid, flush=True)
    await child.ended()

asyncio.run(main())
"""


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_what_a_child_writes_is_in_its_file_and_is_kept_over_a_restart(program: Program) -> None:
    child = program("print('one'); print('two')")
    for _ in range(2):
        await child.start()
        assert await child.ended() == 0
    assert child.log.read_text() == "one\ntwo\n" * 2
    assert child.last_words(1) == "two"
    assert not child.runs


async def test_a_child_that_is_asked_to_go_goes_and_a_stubborn_one_is_killed(program: Program) -> None:
    for name, text, patience_s, code in (
        ("meek", SLEEPS, PATIENCE_S, -signal.SIGTERM),
        ("stubborn", STUBBORN, 0.1, -signal.SIGKILL),
    ):
        child = program(text, name)
        await child.start()
        await until(lambda child=child: "here" in child.last_words(), f"{name} to be there")
        assert await child.end(patience_s) == code
        assert not runs(child.pid)


async def test_the_end_of_a_child_that_never_started_or_has_ended_is_nothing(program: Program) -> None:
    child = program("raise SystemExit(3)")
    assert await child.end(1) == 0
    await child.start()
    assert await child.ended() == 3
    assert await child.end(1) == 3


async def test_a_program_that_is_not_there_says_so(tmp_path: Path) -> None:
    child = Child("child", ["/nowhere/program"], log=tmp_path / "child.log")
    await child.start()
    assert await child.ended() == 1
    assert child.last_words() == "error: /nowhere/program cannot be started: No such file or directory"


async def test_a_file_for_words_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    child = Child("child", ["true"], log=tmp_path / "file" / "child.log")
    with pytest.raises(ChildFailed, match="child cannot be started"):
        await child.start()


async def test_words_are_bounded_and_the_child_goes_on_writing(program: Program) -> None:
    child = program("import sys\nprint('a' * 100, flush=True)\nfor line in open(sys.argv[1] + '/pipe'): print(line)")
    os.mkfifo(child.log.with_name("pipe"))
    await child.start()
    await until(lambda: "a" * 100 in child.last_words(), "the first words")
    child.bound_log(1000)
    assert not child.log.with_name("child.log.1").exists()
    child.bound_log(50)
    assert (child.log.read_text(), child.log.with_name("child.log.1").read_text()) == ("", "a" * 100 + "\n")
    child.log.with_name("pipe").write_text("later")
    assert await child.ended() == 0
    assert child.log.read_text() == "later\n"


def test_the_words_for_an_end() -> None:
    assert how_it_ended(6) == "ended with exit code 6"
    assert how_it_ended(-9) == "was ended by SIGKILL"
    assert how_it_ended(-99) == "was ended by signal 99"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux's kernel ends a child with its parent")
def test_a_child_does_not_outlive_a_parent_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert runs(pid)
        parent.kill()
    deadline_s = time.monotonic() + PATIENCE_S
    while runs(pid):
        assert time.monotonic() < deadline_s, "the child has stayed behind"
        time.sleep(0.01)


def test_the_launcher_starts_nothing_for_a_parent_that_has_gone(tmp_path: Path) -> None:
    from semel.local.child import LAUNCHER

    command = [sys.executable, "-I", "-S", str(LAUNCHER), "1", "touch", str(tmp_path / "started")]
    assert subprocess.run(command, check=False).returncode == (-signal.SIGKILL if sys.platform == "linux" else 0)
    assert (tmp_path / "started").exists() == (sys.platform != "linux")
