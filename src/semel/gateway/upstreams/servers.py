"""What can be served: an MCP server object of this process, a command that starts one, or a URL. Knows no files."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from mcp.server import Server

from semel.errors import TargetError
from semel.gateway import meta
from semel.gateway.upstreams.overrides import Override

Hook = Callable[[dict[str, Any]], Awaitable[dict[str, Any] | None]]
"""A tool's reconcile hook: takes the arguments of a call, gives the CallToolResult of the tool, None if unknown."""


@dataclass(frozen=True, slots=True)
class InProcess:
    """An MCP server object of this process, and by their names the reconcile hooks of its tools, and its functions.

    `functions` are tools that need not be called through the server: each takes the arguments of a call, and gives the
    CallToolResult that the server would give.

    Raises:
        TargetError: it has semel in it already; a call would wait for itself.
    """

    server: Server[Any]
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    functions: Mapping[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if meta.EXTENSION in self.server.extensions:
            raise TargetError(
                f"the server {self.server.name!r} runs its calls once by itself, for it has Semel in it: start it as "
                "any other server, or take Semel out"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A stdio server to be started; `environment` comes on top of what is safe to inherit.

    `shown` is the command as its file has it: what stands there for a variable may be a secret. `clients_can` is what
    the server is told that clients can be asked for, when it lists what it has.
    """

    command: str = field(repr=False)
    arguments: tuple[str, ...] = field(default=(), repr=False)
    environment: Mapping[str, str] = field(repr=False)
    folder: Path | None = None
    clients_can: tuple[str, ...] = ()
    shown: str

    def __str__(self) -> str:
        return self.shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A Streamable HTTP server at a URL, and the headers that each request to it carries; `shown` as for a command."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    clients_can: tuple[str, ...] = ()
    shown: str

    def __str__(self) -> str:
        return self.shown


Place: TypeAlias = InProcess | Command | Remote
"""Where a server is."""


@dataclass(frozen=True, slots=True)
class Served:
    """One server, and what the operator says of its tools by their names; "*" is for those that have no own entry."""

    place: Place
    overrides: Mapping[str, Override] = field(default_factory=dict)
