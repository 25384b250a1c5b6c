"""The entry for a client's own config file that makes it start `semel connect`, and where that file lies.

Knows the files of three clients; reads and writes none of them.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAME = "semel"
"""What the client shows the server as; the user may call it anything."""

CLIENTS = ("claude", "cursor", "vscode")

_PLACES = {
    "claude": (
        "Claude Desktop: put it into claude_desktop_config.json (Settings > Developer > Edit Config), which is\n"
        "  ~/.config/Claude/claude_desktop_config.json on Linux,\n"
        "  ~/Library/Application Support/Claude/claude_desktop_config.json on a Mac; then restart it.\n"
        "Claude Code: put it into .mcp.json in the project's folder."
    ),
    "cursor": "Cursor: put it into ~/.cursor/mcp.json, or .cursor/mcp.json in a project's folder.",
    "vscode": (
        "VS Code: put it into .vscode/mcp.json in a workspace's folder, or into the user's mcp.json\n"
        "  (the command «MCP: Open User Configuration» opens it)."
    ),
}


def entry_for(client: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Return what makes `client`, one of `CLIENTS`, start semel with `arguments`."""
    command, *before = this_command()
    started = {"command": command, "args": [*before, *arguments]}
    match client:
        case "claude":
            return {"mcpServers": {NAME: started}}
        case "cursor":
            return {"mcpServers": {NAME: {"type": "stdio", **started}}}
        case "vscode":
            return {"servers": {NAME: {"type": "stdio", **started}}}
        case _:
            raise AssertionError(client)


def place_of(client: str) -> str:
    """Return where the config file of `client` lies, in words."""
    return _PLACES[client]


def this_command() -> list[str]:
    """Return the absolute command of this installation: a client starts it with a PATH of its own."""
    script = Path(sys.argv[0]).absolute()
    if script.name == "semel" and script.is_file():
        return [str(script)]
    return [sys.executable, "-m", "semel"]
