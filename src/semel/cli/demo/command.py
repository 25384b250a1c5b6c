"""`semel demo`: sets the stage, has the story told, and clears everything away, however the story went."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path

import click

from semel.cli.demo.narrator import CheckFailed, Narrator
from semel.cli.demo.quorum import QuorumStory
from semel.cli.demo.stage import QuorumStage, Stage
from semel.cli.demo.story import Story
from semel.cli.exits import Exit
from semel.cli.lesson import Lesson
from semel.cli.output import note, stdout_console
from semel.cli.signals import heeded
from semel.errors import SemelError, UsageError

STORY_S = 120.0
"""The whole story takes under ten seconds; each wait in it has a bound of its own, well below."""


DEMO_LESSON = """\
Examples:
  semel demo
  semel demo --keep /tmp/semel-demo
  semel demo --quorum
"""


@click.command(cls=Lesson, lesson=DEMO_LESSON)
@click.option(
    "--keep",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Play in DIR, which is new or empty, and leave the logs there.",
)
@click.option(
    "--quorum", is_flag=True, help="Play on a log that three etcd members keep, and kill the one that leads, too."
)
def demo(keep: Path | None, quorum: bool) -> Exit:
    """Watch three nodes survive the death of their leader.

    Three processes on this machine share one log; with --quorum three etcd members keep it. Every line of the story
    is checked against the nodes' logs and the clients' answers as it is told; if one does not hold, the demo says
    which and exits with 1. Nothing is left behind, unless you ask for it.
    """
    folder = _new_or_empty(keep) if keep is not None else Path(tempfile.mkdtemp(prefix="semel-demo-"))
    try:
        return asyncio.run(_play(folder, keep=keep is not None, quorum=quorum))
    except asyncio.CancelledError:  # by a signal that is not Ctrl-C
        raise click.Abort from None
    finally:
        if keep is None:
            shutil.rmtree(folder, ignore_errors=True)


def _new_or_empty(folder: Path) -> Path:
    """Return the folder, made if need be.

    Raises:
        UsageError: there is something in it, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = next(folder.iterdir(), None)
    except OSError as error:
        raise UsageError(f"--keep {folder}: {error.strerror}: name a folder that is new or empty") from error
    if found is not None:
        raise UsageError(
            f"--keep {folder}: there is already something in it ({found.name}): name a new or empty folder"
        )
    return folder.resolve()


def _cast(folder: Path, narrator: Narrator, *, quorum: bool) -> tuple[Stage, Story]:
    """Return the stage, and the story that is told on it."""
    if quorum:
        of_six = QuorumStage(folder)
        return of_six, QuorumStory(of_six, narrator)
    of_three = Stage(folder)
    return of_three, Story(of_three, narrator)


async def _play(folder: Path, *, keep: bool, quorum: bool) -> Exit:
    begun_s = time.monotonic()
    playing = asyncio.current_task()
    assert playing is not None
    for ending in heeded(signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(ending, playing.cancel)
    narrator = Narrator(stdout_console())
    stage, story = _cast(folder, narrator, quorum=quorum)
    try:
        async with asyncio.timeout(STORY_S):
            await story.tell()
            await _clear_away(stage, narrator, None if keep else folder)
    except (CheckFailed, SemelError, TimeoutError) as trouble:
        why = str(trouble) or f"the story was not over after {STORY_S:.0f} s"
        note(
            f"{narrator.at}: {why}\n\nTheir last words:\n{stage.last_words()}",
            label="\nthis does not hold: ",
            style="red",
        )
        return Exit.TOOL
    finally:
        await stage.close()
    narrator.end(time.monotonic() - begun_s)
    if keep:
        narrator.say(f"The log, the nodes' copies of it and their words are in {folder}")
    return Exit.OK


async def _clear_away(stage: Stage, narrator: Narrator, folder: Path | None) -> None:
    """Tell the last step: end the nodes, and remove the folder unless it is to be kept (None)."""
    narrator.step("Cleanup: no process and no file left behind" if folder else "Cleanup: no process left behind")
    with narrator.waiting("they go down"):
        failed = await stage.end_all()
    narrator.check("each went down by itself when asked, and in order", not failed, failed)
    narrator.check(f"none of the {len(stage.pids)} processes is left", not any(map(_runs, stage.pids)), stage.pids)
    if folder is not None:
        shutil.rmtree(folder)
        narrator.check(f"{folder} is removed", str(folder) not in map(str, folder.parent.iterdir()))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
