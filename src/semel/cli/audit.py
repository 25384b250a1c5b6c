"""`semel audit`: every call that the log holds, who made it, which node ran it, and what came of it."""

import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from semel.cli.asking import ask
from semel.cli.freshness import STALE_S, freshness
from semel.cli.lesson import Lesson
from semel.cli.options import json_option, linearizable_option, timeout_option, url_option
from semel.cli.output import note, print_lines, stdout_console, width_of
from semel.cli.since import SINCE_HELP, clock, parse_since
from semel.cli.table import Column, Table, compact, field
from semel.core.call import Status

if TYPE_CHECKING:
    from semel.gateway.clients.client import Client
    from semel.gateway.doors.asof import AsOf

ROWS_SHOWN = 50
"""A table longer than a screen or two is not read; programs read --json."""
OUTCOME_STYLES = {
    Status.OK: "green",
    Status.ERROR: "red",
    Status.CANCELLED: "yellow",
    Status.TIMED_OUT: "red",
    Status.IN_DOUBT: "bold magenta",
    Status.RUNNING: "cyan",
    Status.INPUT_REQUIRED: "cyan",
}


AUDIT_LESSON = """\
Examples:
  semel audit --tool charge --since 2h
  semel audit --outcome in_doubt
  semel audit --linearizable --key order-42
  semel audit --follow
  semel audit --json | jq -c 'select(.duration_ms > 1000)'
"""


@click.command(cls=Lesson, lesson=AUDIT_LESSON)
@url_option
@json_option("Print every call as a JSON object on a line of its own.")
@click.option("--tool", metavar="TOOL", help="Only calls of this tool.")
@click.option("--caller", metavar="NAME", help="Only calls of this caller.")
@click.option("--key", metavar="KEY", help="Only calls under this idempotency key.")
@click.option("--node", metavar="NODE", help="Only calls that this node ran.")
@click.option("--outcome", type=click.Choice([status.value for status in Status]), help="Only calls that stand so.")
@click.option("--since", metavar="TIME", help=f"Only calls from this time on: {SINCE_HELP}.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N  [default: 50 in a table]")
@click.option("--follow", "-f", is_flag=True, help="Go on with calls as they come to an outcome; Ctrl-C ends it.")
@linearizable_option
@timeout_option(5.0)
def audit(
    urls: tuple[str, ...],
    as_json: bool,
    since: str | None,
    limit: int | None,
    follow: bool,
    linearizable: bool,
    timeout_s: float,
    **filters: str | None,
) -> None:
    """Show the calls in the order in which they began, the newest last.

    Every node holds every call, so that any node can be asked. A column that a narrow terminal has no room for is
    left out; --json leaves out nothing. What is shown is what that node has read of the log, and a note says how far
    that is; with --linearizable nothing is missing that was in the log when you asked.
    """
    wanted: dict[str, Any] = {name: value for name, value in filters.items() if value is not None}
    if since is not None:
        wanted["since_ms"] = parse_since(since, time.time_ns() // 1_000_000)
    shown = limit if limit is not None or as_json else ROWS_SHOWN
    if shown is not None:
        wanted["limit"] = shown if follow or as_json else shown + 1
    told: list[AsOf] = []

    async def question(client: "Client") -> None:
        say = _say_freshness(linearizable=linearizable, only_if_stale=as_json)
        heard = say if follow else told.append
        calls = client.audit(linearizable=linearizable, follow=follow, as_of=heard, **wanted)
        if as_json:
            await _print_json(calls, flush=follow)
        elif follow:
            await _print_as_they_come(calls)
        else:
            assert shown is not None
            await _print_table(calls, shown, filtered=bool(wanted.keys() - {"limit"}))
        for as_of in told:
            say(as_of)

    ask(urls, question, timeout_s=timeout_s, waiting=None if follow or as_json else "reading the audit")


def _say_freshness(*, linearizable: bool, only_if_stale: bool) -> "Callable[[AsOf], None]":
    """Return what says as of when the calls are that are shown; programs need to hear it only if that is long ago."""

    def say(as_of: "AsOf") -> None:
        if as_of.log_age_s > STALE_S or not only_if_stale:
            note(freshness(as_of.position, as_of.log_age_s, linearizable=linearizable))

    return say


async def _print_json(calls: AsyncIterator[Mapping[str, Any]], *, flush: bool) -> None:
    async for call in calls:
        print(json.dumps(call, ensure_ascii=False), flush=flush)


async def _print_as_they_come(calls: AsyncIterator[Mapping[str, Any]]) -> None:
    console = stdout_console()
    table = Table(CALL_COLUMNS, None, width_of(console))
    print_lines(console, [table.header()])
    async for call in calls:
        print_lines(console, [table.line(call)])


async def _print_table(stream: AsyncIterator[Mapping[str, Any]], shown: int, *, filtered: bool) -> None:
    calls = [call async for call in stream]
    newest = calls[-shown:]
    console = stdout_console()
    table = Table(CALL_COLUMNS, newest, width_of(console))
    print_lines(console, [table.header(), *map(table.line, newest)])
    if not calls:
        note("no such calls" if filtered else "no calls yet")
    if len(calls) > shown:
        note(f"there are older calls: these are the newest {shown} (--limit N for more, --json for all)")
    if table.left_out:
        note(f"no room for: {', '.join(table.left_out)} (a wider terminal or --json shows them)")


def outcome_style(call: Mapping[str, Any]) -> str:
    """Return the colour of a call's outcome."""
    return OUTCOME_STYLES.get(call["outcome"], "")


def standing(call: Mapping[str, Any]) -> str:
    """Return how a call stands, and after how many rounds if it has had more than one."""
    outcome, rounds = call["outcome"], call["rounds"]
    return outcome if rounds == 1 else f"{outcome}, {rounds} rounds"


def value(name: str, **options: Any) -> Column:
    """Return a column that shows a JSON value of a call."""
    return Column(name=name, show=lambda call: "" if call[name] is None else compact(call[name]), **options)


def duration(call: Mapping[str, Any]) -> str:
    """Return how long a call's run took, in milliseconds; nothing for one that runs or is in doubt."""
    return "" if call["duration_ms"] is None else f"{call['duration_ms']:.1f}"


CALL_COLUMNS = (
    Column(name="#", show=lambda call: str(call["execution_id"]), right=True, width=6),
    Column(name="time", show=lambda call: clock(call["timestamp_ms"]), style=lambda _: "dim", width=18, rank=2),
    field("tool", width=16, width_min=10),
    value("arguments", width=28, width_min=16, width_max=36),
    Column(name="outcome", show=standing, style=outcome_style, width=14, width_min=9),
    value("result", width=20, width_min=12, width_max=28),
    field("key", width=18, width_min=10, width_max=32, rank=4),
    field("caller", width=10, width_min=6, width_max=20, rank=5),
    field("executor", width=8, rank=1),
    field("term", right=True, width=4, rank=6),
    field("attempt", right=True, rank=7),
    Column(name="ms", show=duration, right=True, width=8, rank=3),
)
