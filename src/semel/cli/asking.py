"""How a command talks to a running cluster: one client, one conversation, one event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from rich.live import Live
from rich.spinner import Spinner

from semel.cli.loading import loading
from semel.cli.output import stderr_console

if TYPE_CHECKING:
    from semel.gateway.clients.client import Client

CONNECT_S = 5.0
"""How long there may be nobody at all to connect to: a person who waits knows sooner whether a node is up."""
PATIENCE_S = 1.0
"""What takes longer is worth a word."""

Result = TypeVar("Result")


def ask(
    urls: Sequence[str],
    question: "Callable[[Client], Awaitable[Result]]",
    *,
    timeout_s: float,
    connect_s: float = CONNECT_S,
    caller: str | None = None,
    waiting: str | None = "waiting for an answer",
) -> Result:
    """Return what `question` makes of a client of the nodes at `urls`; a terminal shows `waiting` after a second.

    Raises:
        SemelError: what the cluster refused, or why it cannot be had.
    """

    async def conversation() -> Result:
        client = open_client(urls, timeout_s=timeout_s, connect_s=connect_s, caller=caller)
        patience = asyncio.create_task(_show_patience(waiting))
        try:
            return await question(client)
        finally:
            patience.cancel()
            await client.close()

    return asyncio.run(conversation())


def open_client(
    urls: Sequence[str], *, timeout_s: float, connect_s: float = CONNECT_S, caller: str | None = None
) -> "Client":
    """Return a client of the nodes at `urls`."""
    with loading():
        from semel.gateway.clients.client import connect  # here, for the SDK takes most of a second to import

    return connect(*urls, caller=caller, timeout_s=timeout_s, connect_timeout_s=connect_s)


async def _show_patience(waiting: str | None) -> None:
    """Show in a terminal, from the second second on, that there is something to wait for."""
    console = stderr_console()
    if waiting is None or not console.is_terminal:
        return
    await asyncio.sleep(PATIENCE_S)
    spinner = Spinner("dots", f"{waiting} (Ctrl-C to give up)")
    with Live(spinner, console=console, transient=True, redirect_stdout=False, redirect_stderr=False):
        await asyncio.Event().wait()
