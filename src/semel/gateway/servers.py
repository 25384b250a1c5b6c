"""What can be served: an MCP server object of this process, or a command that starts one. Knows no files."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mcp.server import Server

Hook = Callable[[dict[str, Any]], Awaitable[dict[str, Any] | None]]
"""A tool's reconcile hook: takes the arguments of a call, gives the CallToolResult of the tool, None if unknown."""


@dataclass(frozen=True, slots=True)
class InProcess:
    """An MCP server object of this process, and the reconcile hooks of its tools by their names."""

    server: Server[Any]
    hooks: Mapping[str, Hook] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A stdio server to be started; `environment` comes on top of what is safe to inherit."""

    command: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str]
    folder: Path | None = None

    def __str__(self) -> str:
        return " ".join([self.command, *self.arguments])
