"""`semel serve`: one node as a process of its own, from its start over its signals to its end.

Knows processes: signals, stdout and stderr, exit codes. What a node is and does is in `semel.serving`.
"""

import asyncio
import contextlib
import gc
import logging
import sys
from collections.abc import Coroutine
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semel.cli.greeting import greet
from semel.cli.lesson import Lesson
from semel.cli.loading import loading
from semel.cli.options import serving_options
from semel.cli.output import note
from semel.cli.signals import Signals
from semel.errors import SemelError, UsageError

if TYPE_CHECKING:
    from semel.gateway.doors.stdio import Wire
    from semel.gateway.upstreams.target import Target
    from semel.serving import Node

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"

_YOUNG_OBJECTS_MAX = 10_000
"""When Python looks for garbage in cycles, of which calls leave hardly any. At its own 700 it did so for every eighth
call, and found those that were under way; each look takes a few ms now."""


class NodeEnded(SemelError):
    """The node cannot start or go on; its text is the reason's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a node is to be served, as the command line says it."""

    target: str
    log: str | None
    name: str | None
    listen: str | None
    advertise: str | None
    cluster: str
    data: Path | None
    keys: tuple[str, ...]
    require_key: bool
    stdio: bool
    drain_s: float
    loop: str


SERVE_LESSON = """\
Examples:
  semel serve server.py
  semel serve mcp.json
  semel serve server.py --log sqlite:///srv/semel/log.db --node a --listen 127.0.0.1:8431

For a desktop client's config (it starts the process, and talks to it on stdin and stdout):
  {"mcpServers": {"pay": {"command": "semel", "args": ["serve", "/srv/pay/server.py", "--stdio"]}}}

SIGTERM or Ctrl-C: the node takes no new calls, lets running tools end, hands over to another
node, and exits with 0. Once more: it hurries. Exit 6: it cannot start or go on, and says why.
"""


@click.command(cls=Lesson, lesson=SERVE_LESSON)
@click.argument("target")
@click.option(
    "--log",
    metavar="URL",
    envvar="SEMEL_LOG",
    show_envvar=True,
    help="The log that all nodes share, such as sqlite:///srv/semel/log.db.  [default: a file for this "
    "target in your data directory]",
)
@click.option(
    "--node",
    "name",
    metavar="NAME",
    help="This node's name.  [default: node-1, or the next that is free; on etcd this machine's name]",
)
@click.option(
    "--listen", metavar="HOST:PORT", help="Where to listen.  [default: 127.0.0.1 and the first free port from 8420 on]"
)
@click.option(
    "--advertise",
    metavar="URL",
    help="Where other nodes reach this one, such as http://10.0.0.5:8420, if that is not where it listens "
    "(a proxy, a container).  [default: where it listens; for 0.0.0.0 and [::] this machine's name]",
)
@click.option("--stdio", is_flag=True, help="Serve MCP on stdin and stdout, as desktop clients start it, until EOF.")
@click.option(
    "--cluster", metavar="NAME", default="semel", show_default=True, help="The cluster that the log belongs to."
)
@click.option(
    "--data",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the nodes' own copies of the log are kept.  [default: beside the log]",
)
@serving_options(
    drain="How long running tools may take to end when the node is told to go.", level="How much to say on stderr"
)
def serve(log_level: str, **options: Any) -> None:
    """Serve the tools of TARGET, each call once.

    TARGET is a Python file (an MCP server object, or functions marked with @semel.tool), an object in one
    (server.py:app), or an mcp.json. MCP is at http://HOST:PORT/mcp; /healthz and /readyz tell a supervisor how the
    node is. Start it again in another terminal: nodes on the same log are one cluster.
    """
    configure_logging(log_level)
    _begin(Options(**options))


def _begin(options: Options) -> None:
    with loading():
        import uvloop  # all here, for the SDK takes most of a second to import

        from semel.gateway.doors.stdio import claim_stdio
        from semel.gateway.upstreams.target import load_target
        from semel.serving import default_log

    with claim_stdio() if options.stdio else contextlib.nullcontext() as wire:
        # Before there is a loop that takes the signals: an import that hangs can be interrupted.
        target = load_target(options.target)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(replace(options, log=options.log or default_log(options.target)), target, wire))


def configure_logging(level: str) -> None:
    """Send to stderr what semel logs from `level` on; of other libraries only warnings, or everything at debug."""
    debugging = level == "debug"
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter((logging.Formatter if debugging else _WithoutForeignTracebacks)(LOG_FORMAT))
    logging.basicConfig(level="DEBUG" if debugging else "WARNING", handlers=[lines])
    logging.getLogger("semel").setLevel(level.upper())


class _WithoutForeignTracebacks(logging.Formatter):
    """Shortens what other libraries log of an exception to what it says."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text."""
        if record.exc_info and not record.name.startswith("semel"):
            record = copy(record)
            assert record.exc_info
            record.msg, record.args = f"{record.getMessage().partition(chr(10))[0]}: {record.exc_info[1]!r}", ()
            record.exc_info = record.exc_text = None
        return super().format(record)


async def _serve(options: Options, target: "Target", wire: "Wire | None") -> None:
    import uvloop

    from semel.serving import Node

    signals = Signals()
    with signals.caught():
        try:
            node = Node(
                target,
                log=options.log,
                name=options.name,
                listen=options.listen,
                advertise=options.advertise,
                cluster=options.cluster,
                data=options.data,
                keys=options.keys,
                require_key=options.require_key,
                drain_s=options.drain_s,
                tools_loop=uvloop.new_event_loop if options.loop == "uvloop" else asyncio.new_event_loop,
            )
            await _live(node, options, signals, wire)
        except UsageError:
            raise
        except SemelError as error:
            raise NodeEnded(str(error)) from error


async def _live(node: "Node", options: Options, signals: Signals, wire: "Wire | None") -> None:
    """Start the node, serve until something ends that, and let it go in order."""
    greeting = asyncio.create_task(greet(node, options.target, stdio=options.stdio), name="greeting")
    try:
        if not await _unless_asked_to_go(node.start(), signals):
            return
        gc.freeze()  # what is there now stays; going through it again and again would stop the node, pulse and all
        gc.set_threshold(_YOUNG_OBJECTS_MAX, *gc.get_threshold()[1:])
        try:
            await _unless_asked_to_go(_serve_to_the_end(node, wire), signals)
        finally:
            await _let_go(node, signals)
    finally:
        greeting.cancel()
        await asyncio.wait([greeting])
    assert node.failed is not None
    if node.failed.done():
        raise node.failed.result()


async def _unless_asked_to_go(work: Coroutine[Any, Any, None], signals: Signals) -> bool:
    """Return True once the work is done, False if a signal came first, which cancels it."""
    task = asyncio.create_task(work)
    asked = asyncio.create_task(signals.asked.wait())
    await asyncio.wait([task, asked], return_when=asyncio.FIRST_COMPLETED)
    task.cancel()
    asked.cancel()
    await asyncio.wait([task, asked])
    if task.cancelled():
        return False
    task.result()
    return True


async def _serve_to_the_end(node: "Node", wire: "Wire | None") -> None:
    """Serve until the node fails, somebody asks it to leave, or, on stdio, its client goes away."""
    assert node.failed is not None
    ends: list[asyncio.Task[Any]] = [
        asyncio.create_task(_failure(node.failed), name="failure"),
        asyncio.create_task(node.departure.asked.wait(), name="departure"),
    ]
    if wire is not None:
        ends.append(asyncio.create_task(node.serve_stdio(wire), name="stdio"))
    try:
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()
        await asyncio.wait(ends)
    for end in done:
        end.result()


async def _failure(failed: asyncio.Future[SemelError]) -> None:
    """Wait until the node has failed; the future itself is the node's, and is never cancelled."""
    await asyncio.wait([failed])


async def _let_go(node: "Node", signals: Signals) -> None:
    """Let running tools end, hand over, and stop; hurry when asked to."""
    stop = asyncio.create_task(node.stop(), name="stop")
    hurry = asyncio.create_task(signals.hurried.wait(), name="hurry")
    _say_farewell(node, signals)
    await asyncio.wait([stop, hurry], return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    if not stop.done():
        note(f"{node.name} hurries: what still runs is left to the next leader")
        stop.cancel()
        await asyncio.wait([stop])
        await node.stop(drain_s=0)
    if not stop.cancelled():
        stop.result()


def _say_farewell(node: "Node", signals: Signals) -> None:
    """Say what a node waits for that goes down on purpose."""
    assert node.failed is not None
    if node.failed.done():
        return
    running = node.status()["running_here"]
    calls = "1 running call" if running == 1 else f"{running} running calls"
    hurry = "a second signal hurries it" if signals.asked.is_set() else "two signals hurry it"
    waits = f"waits up to {node.departure.within_s:g} s for {calls} ({hurry})" if running else "hands over"
    note(f"{node.name} takes no new calls, {waits}")
