"""`semel drain`: asks a node to leave, shows what it still waits for, and says when it has gone."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from semel.cli.asking import ask
from semel.cli.lesson import Lesson
from semel.cli.options import DEFAULT_URL, NodeUrls
from semel.cli.output import note
from semel.errors import ClusterError, NoLeader, SemelError, UsageError

if TYPE_CHECKING:
    from semel.gateway.clients.client import Client

DRAIN_PATH = "/v1/drain"
ASK_S = 5.0
"""How long a node may take to answer that it will leave, and then each time how it gets on."""
LOOK_EVERY_S = 0.1
"""A node with nothing to do is gone in a fraction of a second, and a person sees it go."""
LAST_STEPS_S = 15.0
"""What a process may take to end once nothing runs in it any more: answers on their way, files, upstream servers."""

DRAIN_LESSON = """\
Examples:
  semel drain http://10.0.0.5:8420
  semel drain http://10.0.0.5:8420 --timeout 60   # its tools may take a minute to end

For a rolling restart: drain a node, start it again, wait until its /readyz says ready, and go on
with the next. Clients that know several nodes notice nothing.
"""


@click.command(cls=Lesson, lesson=DRAIN_LESSON)
@click.argument("urls", metavar="[URL]", type=NodeUrls(), default=DEFAULT_URL, envvar="SEMEL_URL")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long tools that run may take to end.  [default: as the node was started with --drain]",
)
def drain(urls: tuple[str, ...], timeout_s: float | None) -> None:
    """Ask the node at URL to leave its cluster, and wait until it has.

    The node takes no new calls, lets those that run come to their end, hands over to another node, and its process
    ends with exit code 0. URL is http://127.0.0.1:8420 if none is given. Calls that still run after the time limit
    are left to the next leader, and those of once tools are then in doubt.
    """
    if len(urls) != 1:
        raise UsageError(f"one node is drained at a time, and {len(urls)} URLs are named: {', '.join(urls)}")
    url = urls[0]
    told = _request(url, timeout_s)
    node = told["node"]
    if told["already"]:
        note(f"{node} is leaving already")
    if not told["others"]:
        note(f"no other node is alive: calls wait until one starts, once {node} has left", label="warning: ")
    if not _gone(url, told):
        raise ClusterError(
            f"{node} was asked to leave, and is still there {told['timeout_s'] + LAST_STEPS_S:g} s later. It takes no "
            "new calls. Look at what it says on its stderr; ending its process leaves what runs to the next leader"
        )
    click.echo(f"{node} has left")


def _request(url: str, timeout_s: float | None) -> dict[str, Any]:
    async def question(client: "Client") -> dict[str, Any]:
        return dict(await client.post_json(DRAIN_PATH, {} if timeout_s is None else {"timeout": timeout_s}))

    try:
        return ask((url,), question, timeout_s=ASK_S, waiting=f"asking {url} to leave")
    except NoLeader as error:
        raise ClusterError(
            f"nobody was asked to leave, since nobody answers at {url}. If the node has gone already, that was all. "
            f"Details: {str(error).partition(' Try again')[0]}"
        ) from error


def _gone(url: str, told: Mapping[str, Any]) -> bool:
    """Show what the node waits for until it has gone; return False if it takes longer than it may."""
    deadline_s = time.monotonic() + told["timeout_s"] + LAST_STEPS_S

    async def watch(client: "Client") -> bool:
        said, status = "", {**told, "running_here": told["running"], "waiting_here": told["waiting"]}
        while time.monotonic() < deadline_s:
            news = _progress(told["node"], status)
            if news != said:
                note(said := news)
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                status = await client.status()
            except SemelError:
                if not await _listens(url):
                    return True
            if status["incarnation"] != told["incarnation"]:
                return True
        return False

    return ask((url,), watch, timeout_s=ASK_S, connect_s=LOOK_EVERY_S, waiting=None)


async def _listens(url: str) -> bool:
    """Return whether anything at all takes connections at a URL: a node that is busy is not one that has gone."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        async with asyncio.timeout(ASK_S):
            _, writer = await asyncio.open_connection(parts.hostname, port)
    except OSError:  # a time-out is one, too
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


def _progress(node: str, status: Mapping[str, Any]) -> str:
    """Return what a leaving node waits for, as it said last."""
    running, waiting = status["running_here"], status["waiting_here"]
    if running:
        return f"{node} takes no new calls; {running} {'call is' if running == 1 else 'calls are'} still running"
    if waiting:
        return (
            f"{node} takes no new calls; {waiting} {'client waits' if waiting == 1 else 'clients wait'} for an answer"
        )
    return f"{node} takes no new calls, and nothing runs there any more"
