"""semel runs MCP tool servers on a cluster so that every tool call happens once, and leaves a log that proves it.

`tool` marks a function, `Node` serves it, `connect` calls it; `current_call` tells a running tool which call it is.
`Semel` does the same for an MCP server that its author runs.
What goes wrong is an error of `semel.errors`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semel.embedding import Semel
    from semel.gateway.clients.client import Answer, Client, connect
    from semel.gateway.upstreams.declare import CurrentCall, current_call, tool
    from semel.serving import Node

__all__ = ["Answer", "Client", "CurrentCall", "Node", "Semel", "connect", "current_call", "tool"]

_HOMES = {
    "Answer": "semel.gateway.clients.client",
    "Client": "semel.gateway.clients.client",
    "CurrentCall": "semel.gateway.upstreams.declare",
    "Node": "semel.serving",
    "Semel": "semel.embedding",
    "connect": "semel.gateway.clients.client",
    "current_call": "semel.gateway.upstreams.declare",
    "tool": "semel.gateway.upstreams.declare",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: the SDK takes most of a second, and not all need it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'semel' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)
