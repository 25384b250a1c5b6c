"""`semel backup` and `semel restore`: the whole history in one file, and the way back for the day when all is lost."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from semel.cli.lesson import Lesson
from semel.cli.options import url_option
from semel.cli.output import note, stderr_console
from semel.disk import sync
from semel.errors import LogUnavailable, NoLeader, ReplicaError, UsageError

if TYPE_CHECKING:
    from semel.node.snapshot import Snapshot

BACKUP_LESSON = """\
Examples:
  semel backup semel-2026-11-23.db
  semel backup --url http://10.0.0.2:8420 backup.db
  sqlite3 backup.db 'SELECT tool, count(*) FROM calls GROUP BY tool'
"""

RESTORE_LESSON = """\
Examples:
  semel restore backup.db --log etcd://10.0.0.1,10.0.0.2,10.0.0.3 --node pay-1
  semel serve server.py --log etcd://10.0.0.1,10.0.0.2,10.0.0.3 --node pay-1
"""


@click.command(cls=Lesson, lesson=BACKUP_LESSON)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@url_option
def backup(urls: tuple[str, ...], file: Path, overwrite: bool) -> None:
    """Write all calls that the cluster knows into FILE, while it goes on working.

    The file is a SQLite database, which plain SQL may read, and from which `semel restore` brings a lost cluster
    back. It is checked before it takes its name. What ends after the backup is not in it.
    """
    if file.exists() and not overwrite:
        raise UsageError(f"{file} exists: name another file, or say --overwrite")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {file.absolute().parent}")
    snapshot = asyncio.run(_back_up(urls, file))
    totals = snapshot.totals
    click.echo(
        f"{file}: cluster {totals.cluster}, up to position {totals.position}, {totals.calls} calls, "
        f"{file.stat().st_size / 2**20:,.1f} MiB, sha256 {snapshot.digest}"
    )


async def _back_up(urls: tuple[str, ...], file: Path) -> "Snapshot":
    from semel.gateway.doors.snapshots import fetch_snapshot  # here, for these take most of a second to import
    from semel.node.snapshot import Snapshot

    unfinished = file.with_name(f"{file.name}.part")
    try:
        with _progress() as progress:
            shown = progress.add_task("fetching", total=None)
            await fetch_snapshot(
                urls, unfinished, lambda _, here, whole: progress.update(shown, completed=here, total=whole)
            )
        snapshot = await asyncio.to_thread(Snapshot.check, unfinished)
        await asyncio.to_thread(sync, unfinished)
        unfinished.replace(file)
        await asyncio.to_thread(sync, file.parent)
    except LogUnavailable as error:
        raise NoLeader(f"{error}. Nothing was written") from error
    except OSError as error:
        raise ReplicaError(f"{file} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
    return snapshot


def _progress() -> Progress:
    console = stderr_console()
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@click.command(cls=Lesson, lesson=RESTORE_LESSON)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--log", "log_url", metavar="URL", required=True, envvar="SEMEL_LOG", help="The new, empty log.")
@click.option("--node", metavar="NAME", help="The node that gets the backup, and is to be started first.")
@click.option("--data", type=click.Path(path_type=Path), metavar="DIR", help="The folder for replicas, as for serve.")
def restore(file: Path, log_url: str, node: str | None, data: Path | None) -> None:
    """Begin a new log where the backup in FILE ends; for the day when the old one is lost.

    Stop all nodes first. FILE is a backup, or the replica.db of the node that had read furthest. What was written to
    the old log after that is lost: a client that retries such a call with its key runs it again. Calls that were open
    are in doubt. Start the node that got the backup; the others take a snapshot of it as they start.
    """
    if not file.exists():
        raise UsageError(f"there is no file {file}")
    name, folder, cluster, position, calls = asyncio.run(_restore(file, log_url, node, data))
    click.echo(f"the log goes on after position {position}, with {calls} calls of the cluster {cluster}")
    note(f"now start the node {name}, which has the backup ({folder}): semel serve ... --log URL --node {name}")


async def _restore(file: Path, log_url: str, node: str | None, data: Path | None) -> tuple[str, Path, str, int, int]:
    from semel.node.place import take_place  # here, for these take most of a second to import
    from semel.node.restoring import restore as restore_log
    from semel.serving import open_patiently

    log = await open_patiently(log_url)
    try:
        if log.home is None:
            raise UsageError(f"{log_url} outlives no process: name the log that nodes are to share")
        place = take_place(data or log.home, node)
        try:
            totals = await restore_log(file, log, place)
            return place.name, place.folder, totals.cluster, totals.position, totals.calls
        finally:
            place.leave()
    finally:
        await log.close()
