"""`semel status`: who leads, who follows, and what lags behind."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
from rich.text import Text

from semel.cli.asking import ask
from semel.cli.freshness import ago, freshness
from semel.cli.lesson import Lesson
from semel.cli.options import json_option, linearizable_option, timeout_option, url_option
from semel.cli.output import print_json, print_lines, stdout_console, width_of
from semel.cli.table import Column, field, table

if TYPE_CHECKING:
    from semel.gateway.clients.client import Client

STATUS_LESSON = """\
Examples:
  semel status
  semel status --json | jq -r .leader
  semel status --linearizable   # nothing that was in the log when you asked is missing
"""


@click.command(cls=Lesson, lesson=STATUS_LESSON)
@url_option
@json_option("Print the status as one JSON object.")
@linearizable_option
@timeout_option(5.0)
def status(urls: tuple[str, ...], as_json: bool, linearizable: bool, timeout_s: float) -> None:
    """Show the cluster as one of its nodes sees it.

    A node's lag is the number of log entries that it has yet to read. One that is down has stopped saying that it is
    there, and was last seen so long ago by the node that was asked; what it has logged is on every other node. The
    last line says up to which position of the log all this was read, and how old the newest sign of the log is.
    """

    async def question(client: "Client") -> dict[str, Any]:
        return await client.status(linearizable=linearizable)

    answer = ask(urls, question, timeout_s=timeout_s)
    if as_json:
        print_json(answer, indent=2)
        return
    console = stdout_console()
    print_lines(console, status_lines(answer, width_of(console)))


def status_lines(answer: Mapping[str, Any], width: int | None) -> Iterator[Text]:
    """Yield a status as people read it: a line on the cluster, a table of its nodes, and what is amiss."""
    yield _headline(answer)
    yield from table(NODE_COLUMNS, answer["nodes"], width)
    for warning in answer["warnings"]:
        yield Text.assemble(("warning: ", "bold yellow"), warning)
    fresh = freshness(answer["position"], answer["log_age_s"], linearizable=answer["linearizable"])
    yield Text(f"{answer['node']} shows the log {fresh}", style="dim")


def _headline(answer: Mapping[str, Any]) -> Text:
    leader = answer["leader"]
    line = Text.assemble("cluster ", (answer["cluster"], "bold"), f", term {answer['term']}, leader ")
    line.append(leader or "none", style="bold" if leader else "bold red")
    line.append(f", position {answer['position']}, calls {answer['calls']}, running {answer['running']}, ")
    line.append(f"in doubt {answer['in_doubt']}", style="yellow" if answer["in_doubt"] else "")
    return line


def _role(node: Mapping[str, Any]) -> str:
    return str(node["role"]) if node["alive"] or node["role"] == "leader" else "down"


def _alive(node: Mapping[str, Any]) -> str:
    if node["alive"]:
        return "yes"
    return "down" if node["age_s"] is None else f"down, seen {ago(node['age_s'])}"


NODE_COLUMNS = (
    field("node"),
    Column(name="role", show=_role, style=lambda node: {"leader": "bold green", "down": "dim"}.get(_role(node), "")),
    field("url", width_max=60, rank=1),
    field("executions", right=True),
    field("position", right=True),
    field("lag", right=True, style=lambda node: "yellow" if node["lag"] else ""),
    Column(
        name="alive",
        show=_alive,
        style=lambda node: "" if node["alive"] else "red",
    ),
)
