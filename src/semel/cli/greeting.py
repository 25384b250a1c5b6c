"""What a node says of itself as it starts: what takes long, and in the end what it serves, where, and who leads."""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click

from semel.cli.call import EFFECT_STYLES, effect_of
from semel.cli.output import note, styled

if TYPE_CHECKING:
    from semel.serving import Node

SPEAK_AFTER_S = 1.0
"""What takes longer is worth a word."""
SPEAK_EVERY_S = 3.0
POLL_S = 0.02
LEADER_WAIT_S = 3.0
"""An election takes a fraction of this; past it the node says that there is no leader."""


async def greet(node: "Node", target: str, *, stdio: bool) -> None:
    """Say how far a node is that is starting, and introduce it once it is ready."""
    await _wait_until_ready(node, target)
    introduction = _introduction(node, node.tools(), target, stdio=stdio)
    with contextlib.suppress(OSError):  # whoever started the node need not listen
        click.echo("\n".join(introduction), err=stdio)


async def _wait_until_ready(node: "Node", target: str) -> None:
    """Wait until the node has read the log and there is a leader; for the leader only as long as elections take."""
    position, moved_s = -1, time.monotonic()
    speak_s = moved_s + SPEAK_AFTER_S
    while True:
        await asyncio.sleep(POLL_S)
        now_s = time.monotonic()
        if node.failed is None:
            moved_s, doing = now_s, f"starting {target}"
        else:
            status = node.status()
            if status["position"] > position:
                position, moved_s = status["position"], now_s
            if status["ready"] or node.failed.done() or now_s > moved_s + LEADER_WAIT_S:
                return
            doing = f"{node.name} reads the log: at position {position:,}"
        if now_s > speak_s:
            note(doing)
            speak_s = now_s + SPEAK_EVERY_S


def _introduction(node: "Node", tools: Sequence[Mapping[str, Any]], target: str, *, stdio: bool) -> list[str]:
    from semel.log.engines import shown  # here, for a node has it loaded and other commands have not

    status = node.status()
    leader = status["leader"]
    leads = "nobody yet" if leader is None else f"{leader}{' (this node)' if leader == node.name else ''}"
    named = ", ".join(
        f"{tool['name']} {styled(f'({effect_of(tool)})', fg=EFFECT_STYLES.get(effect_of(tool)))}" for tool in tools
    )
    return [
        f"semel {version('semel')}: {styled(node.name, bold=True)} serves {target}",
        f"  MCP     {'on stdin and stdout; nodes meet at ' + node.url if stdio else node.url + '/mcp'}",
        *([] if node.advertised == node.url else [f"  peers   reach it at {node.advertised}"]),
        f"  log     {shown(node.log_url)}",
        f"  tools   {named or 'none'}",
        f"  leader  {leads}, term {status['term']}",
        *(f"  {styled('warning', fg='yellow')} {warning}" for warning in status["warnings"]),
    ]
