"""What can be served: an MCP server object of this process, or a command that starts one. Knows no files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp.server import Server


@dataclass(frozen=True, slots=True)
class InProcess:
    """An MCP server object of this process."""

    server: Server[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A stdio server to be started; `environment` comes on top of what is safe to inherit."""

    command: str
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str]
    folder: Path | None = None

    def __str__(self) -> str:
        return " ".join([self.command, *self.arguments])
