"""Reads mcp.json, the ecosystem's list of MCP servers; checks all that can be checked without starting them."""

import difflib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from semel.errors import TargetError
from semel.gateway.servers import Command


def read_mcp_json(path: Path) -> dict[str, Command]:
    """Return the servers that `path` lists, by name; those with `"disabled": true` are left out.

    Raises:
        TargetError: it is not JSON, not of this form, or names a command that is not there.
    """
    servers = _parse(path).get("mcpServers")
    if not isinstance(servers, dict):
        raise TargetError(f'{path}: there is no "mcpServers" object in it, as in {{"mcpServers": {{"time": {{…}}}}}}')
    commands = {
        name: _read_server(f"{path}: server {name!r}", entry, path.parent)
        for name, entry in servers.items()
        if not (isinstance(entry, dict) and entry.get("disabled") is True)
    }
    if not commands:
        raise TargetError(f'{path}: "mcpServers" lists no server that is not disabled')
    return commands


def _parse(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise TargetError(f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise TargetError(f"{path}: cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise TargetError(f"{path}: an mcp.json is an object, and this is {_kind(value)}")
    return value


def _read_server(place: str, entry: object, folder: Path) -> Command:
    if not isinstance(entry, dict):
        raise TargetError(f"{place}: it must be an object with a command, and is {_kind(entry)}")
    if "url" in entry or entry.get("type", "stdio") != "stdio":
        raise TargetError(f"{place}: it is an HTTP server, and semel starts only stdio servers so far: leave it out")
    command, arguments = entry.get("command"), entry.get("args", [])
    environment, cwd = entry.get("env", {}), entry.get("cwd")
    if not isinstance(command, str) or not command:
        raise TargetError(f'{place}: "command" must be the name of a program, and is {_kind(command)}')
    if not isinstance(arguments, list) or not all(isinstance(each, str) for each in arguments):
        raise TargetError(f'{place}: "args" must be a list of strings')
    if not isinstance(environment, dict) or not all(isinstance(each, str) for each in environment.values()):
        raise TargetError(f'{place}: "env" must be an object of strings')
    if cwd is not None and not (isinstance(cwd, str) and (folder / cwd).is_dir()):
        raise TargetError(f'{place}: "cwd" must be a folder, and {cwd!r} is none')
    working = None if cwd is None else (folder / cwd).resolve()
    _check_command(place, command, environment, working)
    return Command(command=command, arguments=tuple(arguments), environment=environment, folder=working)


def _check_command(place: str, command: str, environment: Mapping[str, str], folder: Path | None) -> None:
    """Raise TargetError, with the names that come closest, if there is no such program."""
    if os.sep in command:
        program = (folder or Path.cwd()) / command
        if not (program.is_file() and os.access(program, os.X_OK)):
            raise TargetError(f"{place}: the command {command!r} is no program that can be run ({program})")
        return
    search = environment.get("PATH", os.environ.get("PATH", os.defpath))
    if shutil.which(command, path=search) is None:
        close = difflib.get_close_matches(command, _programs(search), n=3, cutoff=0.7)
        hint = f"; did you mean {' or '.join(close)}?" if close else ": install it, or give its full path"
        raise TargetError(f"{place}: the command {command!r} is not on the PATH{hint}")


def _programs(search: str) -> set[str]:
    folders = [Path(each) for each in search.split(os.pathsep) if each]
    return {program.name for folder in folders if folder.is_dir() for program in folder.iterdir()}


def _kind(value: object) -> str:
    """Return what `value` is in the words of JSON."""
    if value is None:
        return "missing"
    names = {
        bool: "true or false",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "a list",
        dict: "an object",
    }
    return names[type(value)]
