"""The demo as a user sees it, and what it does when a line does not hold."""

import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from semel.cli.demo.narrator import CheckFailed, Narrator
from semel.cli.demo.story import Story
from semel.cli.exits import Exit
from semel.errors import EtcdMissing
from semel.local.etcd import find_etcd
from tests.cli.conftest import PATIENCE_S, Semel, environment

DEMO_S = 60


def pids_in(story: str) -> list[int]:
    return [int(pid) for pid in re.findall(r"process (\d+)", story)]


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_story_holds_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "semel", "demo"],
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        env=environment(tmp_path),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert [line[:2] for line in done.stdout.splitlines() if re.match(r"\d\. ", line)] == [
        f"{number}." for number in range(1, 10)
    ]
    for said in (
        "add(1, 2) = 3",
        "multiply(3, 4) = 12",
        'concat("hello", "world") = "hello world"',
        "divide(10, 2) = 5.0",
        "subtract(20, 5) = 15",
        "ms without service",
        "charge_card is in doubt",
        "Shown, in ",
    ):
        assert said in done.stdout
    assert "\x1b" not in done.stdout
    assert not any(map(runs, pids_in(done.stdout)))
    assert list(tmp_path.iterdir()) == []


def test_the_story_of_the_quorum_holds_and_leaves_nothing_behind(tmp_path: Path) -> None:
    try:
        find_etcd()
    except EtcdMissing as missing:
        pytest.skip(str(missing))
    done = subprocess.run(
        [sys.executable, "-m", "semel", "demo", "--quorum"],
        capture_output=True,
        text=True,
        timeout=DEMO_S,
        env=environment(tmp_path),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert [line.split(".")[0] for line in done.stdout.splitlines() if re.match(r"\d+\. ", line)] == [
        str(number) for number in range(1, 11)
    ]
    assert "the leader of etcd" in done.stdout
    assert not any(map(runs, pids_in(done.stdout)))
    assert list(tmp_path.iterdir()) == []


def test_keep_leaves_the_folder(semel: Semel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def tell(_: Story) -> None: ...

    monkeypatch.setattr(Story, "tell", tell)
    ended = semel("demo", "--keep", str(tmp_path / "kept"))
    assert ended.code == 0
    assert str(tmp_path / "kept") in ended.out.splitlines()[-1]
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"server.py", "starts.txt"}


IN_THE_BACKGROUND = ("sh", "-c", """trap '' INT; exec "$@" """, "sh")
"""Starts a command as a shell without job control starts one with `&`: deaf to Ctrl-C."""


@pytest.mark.parametrize(("number", "shell"), [(signal.SIGINT, ()), (signal.SIGTERM, IN_THE_BACKGROUND)])
def test_a_demo_that_is_interrupted_clears_everything_away(
    tmp_path: Path, number: signal.Signals, shell: Sequence[str]
) -> None:
    command = [*shell, sys.executable, "-u", "-m", "semel", "demo"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(tmp_path)
    ) as demo:
        try:
            assert demo.stdout is not None
            told = ""
            while len(pids_in(told)) < 3:
                line = demo.stdout.readline()
                assert line, told
                told += line
            demo.send_signal(number)
            _, error = demo.communicate(timeout=PATIENCE_S)
        finally:
            demo.kill()
    assert demo.returncode == Exit.INTERRUPTED
    assert "Traceback" not in error
    assert not any(map(runs, pids_in(told)))
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_does_not_hold_is_named_and_the_demo_fails(
    semel: Semel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def tell(story: Story) -> None:
        story._narrator.step("The moon is made of cheese")
        story._narrator.check("it tastes of cheese", False, "dust")

    monkeypatch.setattr(Story, "tell", tell)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = semel("demo")
    assert ended.code == Exit.TOOL
    assert (
        "this does not hold: step 1 (The moon is made of cheese): it tastes of cheese; found instead: dust" in ended.err
    )
    assert "Shown" not in ended.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["full", "full/file", "/proc/none"])
def test_a_folder_to_keep_things_in_must_be_new_or_empty(semel: Semel, tmp_path: Path, name: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    ended = semel("demo", "--keep", str(tmp_path / name))
    assert ended.code == Exit.USAGE
    assert "new or empty" in ended.err
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "file"]


def test_the_narrator_shows_colours_in_a_terminal_and_none_in_a_pipe() -> None:
    told = {}
    for terminal in (True, False):
        screen = io.StringIO()
        narrator = Narrator(Console(file=screen, force_terminal=terminal, width=80, markup=False, highlight=False))
        narrator.step("A step")
        with narrator.waiting("something"):
            narrator.check("[this] holds")
        with pytest.raises(CheckFailed, match="that does not; found instead: 7"):
            narrator.check("that does not", False, 7)
        narrator.end(1.25)
        told[terminal] = screen.getvalue()
    assert "\x1b[" in told[True]
    assert told[False] == ("\n1. A step\n   ✓ [this] holds\n\nShown, in 1.2 s and 1 checks\n   ✓ 1. A step\n")
