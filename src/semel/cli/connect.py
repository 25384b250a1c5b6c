"""`semel connect`: an MCP server on stdio for a client's own config file, whose calls go to a cluster.

Knows processes: signals, stdin and stdout, what is said on stderr. What goes through is the work of
`semel.gateway.clients.passage`.
"""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from semel.cli.lesson import Lesson
from semel.cli.loading import loading
from semel.cli.options import DEFAULT_URL, NodeUrls, flat_urls, keys_option, timeout_option
from semel.cli.output import note, print_json
from semel.cli.recipe import CLIENTS, entry_for, place_of
from semel.cli.signals import Signals

if TYPE_CHECKING:
    from semel.gateway.clients.client import Client
    from semel.gateway.doors.stdio import Wire

TIMEOUT_S = 300.0
"""Longer than most tools take; a client that has less patience gives up by itself, and the call goes on."""
NOBODY_S = 45.0
"""How long nobody at all may answer: less than the minute after which common clients give up, so that the client
hears what is wrong, and that nothing was run."""
INTRODUCTION_S = 2.0
"""How long the nodes have to say what they offer; the client waits for its handshake meanwhile, and hears it once."""


CONNECT_LESSON = """\
Examples:
  semel connect http://127.0.0.1:8420 http://127.0.0.1:8421 http://127.0.0.1:8422
  semel connect --print-config claude http://10.0.0.5:8420 http://10.0.0.6:8420
  semel connect --print-config vscode --caller ann > .vscode/mcp.json

A client starts it and talks to it on stdin and stdout; nobody needs to type into it. It ends with
its client, on Ctrl-C, and on SIGTERM.

Whatever happens to a node, the retry goes to another one under the same key, so the tool runs once.
Resources, prompts, questions to the user, progress and changes come through as well, from any node.
A client that itself sends a call again is known by its key, if it sends one; else it makes a new call.
"""


@click.command(cls=Lesson, lesson=CONNECT_LESSON)
@click.argument("urls", metavar="[URL]...", nargs=-1, type=NodeUrls(), envvar="SEMEL_URL", callback=flat_urls)
@click.option("--caller", metavar="NAME", help="Whose calls these are; keys of two callers do not meet.")
@timeout_option(TIMEOUT_S, "Give up waiting for a call after this long; the call itself goes on.")
@keys_option
@click.option(
    "--print-config",
    "client",
    type=click.Choice(CLIENTS),
    help="Print the entry for this client's own config file, and do nothing else.",
)
def connect(
    urls: tuple[str, ...], caller: str | None, timeout_s: float, keys: tuple[str, ...], client: str | None
) -> None:
    """Be an MCP server on stdin and stdout for the cluster at the URLs, whose calls are each run once.

    Without a URL it is the node at http://127.0.0.1:8420, or what SEMEL_URL says. Name several nodes: when one
    dies, its calls are asked for again at the next, under the same key. A cluster that is not there yet is waited for.
    """
    way = Way(urls or (DEFAULT_URL,), caller, timeout_s, keys)
    if client is not None:
        print_json(entry_for(client, way.arguments()), indent=2)
        note(place_of(client))
        return
    _begin(way)


@dataclass(frozen=True, slots=True)
class Way:
    """Where the calls go, and how."""

    urls: tuple[str, ...]
    caller: str | None
    timeout_s: float
    keys: tuple[str, ...]

    def arguments(self) -> list[str]:
        """Return the command line that says this."""
        caller = [] if self.caller is None else [f"--caller={self.caller}"]
        timeout = [] if self.timeout_s == TIMEOUT_S else [f"--timeout={self.timeout_s:g}"]
        return ["connect", *caller, *timeout, *(f"--key-meta={name}" for name in self.keys), *self.urls]


def _begin(way: Way) -> None:
    with loading():  # here, for the SDK takes most of a second to import
        from semel.gateway.doors.stdio import claim_stdio

    with claim_stdio() as wire:
        asyncio.run(_serve(way, wire))


async def _serve(way: Way, wire: "Wire") -> None:
    """Serve until the client closes stdin, or a signal comes."""
    from semel.gateway.clients.client import Client

    nobody_s = min(NOBODY_S, way.timeout_s)
    signals = Signals()
    with signals.caught():
        async with Client(way.urls, caller=way.caller, timeout_s=way.timeout_s, connect_timeout_s=nobody_s) as client:
            _say(f"calls go to {', '.join(way.urls)}")
            serving = asyncio.create_task(_pass_on(client, way, wire), name="serving")
            asked = asyncio.create_task(signals.asked.wait(), name="signals")
            await asyncio.wait([serving, asked], return_when=asyncio.FIRST_COMPLETED)
            serving.cancel()
            asked.cancel()
            await asyncio.wait([serving, asked])
            if not serving.cancelled():
                serving.result()


async def _pass_on(client: "Client", way: Way, wire: "Wire") -> None:
    from semel.gateway.clients.passage import open_passage
    from semel.gateway.doors.asked import KEYS_OF_CLIENTS
    from semel.gateway.doors.stdio import serve_stdio

    passage = open_passage(
        client,
        client_keys=(*KEYS_OF_CLIENTS, *way.keys),
        list_timeout_s=min(NOBODY_S, way.timeout_s),
        introduction_s=INTRODUCTION_S,
        note=_say,
    )
    async with passage as server:
        await serve_stdio(server, wire)


def _say(text: str) -> None:
    """Say on stderr what happens; whoever started this need not listen."""
    with contextlib.suppress(OSError):
        note(text, label="semel connect: ")
