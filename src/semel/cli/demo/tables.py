"""The tables of the demo: those of `semel status` and `semel audit`, with the columns of the story."""

import json

from semel.cli.audit import duration, outcome_style, value
from semel.cli.since import clock
from semel.cli.table import Column, Row, field


def role(standing: Row) -> str:
    """Return the role that a node says it has."""
    return next(str(node["role"]) for node in standing["nodes"] if node["node"] == standing["node"])


def executions(standing: Row) -> int:
    """Return how many executions a node says it has had."""
    return next(int(node["executions"]) for node in standing["nodes"] if node["node"] == standing["node"])


def spoken(call: Row) -> str:
    """Return a call as it is written in code: the tool, and its arguments by name."""
    arguments = ", ".join(f"{name}={json.dumps(argument)}" for name, argument in call["arguments"].items())
    return f"{call['tool']}({arguments})"


STANDING_COLUMNS = (
    field("node"),
    Column(name="role", show=role, style=lambda standing: "bold green" if role(standing) == "leader" else ""),
    field("leader"),
    field("term", right=True),
    Column(name="executions", show=lambda standing: str(executions(standing)), right=True),
    field("position", right=True),
)

CALL_COLUMNS = (
    Column(name="id", show=lambda call: str(call["execution_id"]), right=True),
    Column(name="time", show=lambda call: clock(call["timestamp_ms"], date=False), style=lambda _: "dim", rank=1),
    field("key", width_min=10, rank=3),
    field("caller", rank=4),
    Column(name="call", show=spoken, width_min=30),
    field("outcome", style=outcome_style),
    value("result", width_min=13),
    field("executor"),
    field("term", right=True),
    field("attempt", right=True, rank=5),
    Column(name="ms", show=duration, right=True, rank=2),
)
