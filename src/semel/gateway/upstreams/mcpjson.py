"""Reads mcp.json, the ecosystem's list of MCP servers; checks all that can be checked without starting them.

Of its dialects it takes what they share, and says of the rest what to write instead: the servers under `mcpServers`
(Claude, Cursor and most others) or `servers` (VS Code); stdio servers by `command`, `args`, `env` and `cwd`;
Streamable HTTP servers by `url`, `headers` and perhaps `type`; `disabled`; and `${…}` in all of these. What semel
itself is told, under `semel`, is read by `overrides.py`. Other keys are for other clients, and are passed over.
"""

import difflib
import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from semel.errors import TargetError
from semel.gateway.upstreams.expansion import expand
from semel.gateway.upstreams.overrides import read_clients_can, read_overrides
from semel.gateway.upstreams.servers import Command, Remote, Served

_ROOTS = ("mcpServers", "servers")
_HTTP = ("http", "streamable-http", "streamableHttp", "streamable_http")
"""The names that clients have for Streamable HTTP."""

_NOT_HERE = {
    "serverUrl": 'write "url"',
    "httpUrl": 'write "url"',
    "envFile": 'write the variables into "env", or as ${NAME} and set them where semel runs',
    "oauth": 'semel does not log in to servers: give it a token under "headers"',
    "headersHelper": 'semel runs no program for headers: write them under "headers", with ${NAME} for a secret',
}
"""Keys of one client or another without which a server would not work, or not be found."""

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def read_mcp_json(path: Path) -> dict[str, Served]:
    """Return the servers that `path` lists, by name; those with `"disabled": true` are left out.

    Raises:
        TargetError: it is not JSON, not of this form, or names a command that is not there.
    """
    text = _parse(path)
    root = next((each for each in _ROOTS if each in text), _ROOTS[0])
    servers = text.get(root)
    if not isinstance(servers, dict):
        raise TargetError(f'{path}: there is no "mcpServers" object in it, as in {{"mcpServers": {{"time": {{…}}}}}}')
    served = {
        name: _read_server(f"{path}: server {name!r}", entry, path.parent)
        for name, entry in servers.items()
        if not (isinstance(entry, dict) and entry.get("disabled") is True)
    }
    if not served:
        raise TargetError(f'{path}: "{root}" lists no server that is not disabled')
    return served


def _parse(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise TargetError(f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}") from error
    except (OSError, UnicodeDecodeError, RecursionError) as error:
        raise TargetError(f"{path}: cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise TargetError(f"{path}: an mcp.json is an object, and this is {_kind(value)}")
    return value


def _read_server(place: str, entry: object, folder: Path) -> Served:
    if not isinstance(entry, dict):
        raise TargetError(f"{place}: it must be an object with a command or a url, and is {_kind(entry)}")
    for name, instead in _NOT_HERE.items():
        if name in entry:
            raise TargetError(f'{place}: semel does not know "{name}": {instead}')
    kind = entry.get("type", "http" if "url" in entry else "stdio")
    if kind == "sse":
        raise TargetError(
            f"{place}: its transport is HTTP with SSE, which MCP gave up in 2025: give the URL of its Streamable HTTP "
            'endpoint, and "type": "http"'
        )
    said = entry.get("semel")
    overrides, clients_can = read_overrides(place, said), read_clients_can(place, said)
    if kind in _HTTP:
        return Served(replace(_remote(place, entry), clients_can=clients_can), overrides)
    if kind == "stdio":
        return Served(replace(_command(place, entry, folder), clients_can=clients_can), overrides)
    raise TargetError(f'{place}: "type" is "stdio" or "http", and not {kind!r}')


def _command(place: str, entry: Mapping[str, Any], folder: Path) -> Command:
    command, arguments = entry.get("command"), entry.get("args", [])
    cwd = entry.get("cwd")
    if not isinstance(command, str) or not command:
        raise TargetError(f'{place}: "command" must be the name of a program, and is {_kind(command)}')
    if not isinstance(arguments, list) or not all(isinstance(each, str) for each in arguments):
        raise TargetError(f'{place}: "args" must be a list of strings')
    environment = _texts(place, entry, "env")
    if cwd is not None:
        cwd = _expanded(place, cwd) if isinstance(cwd, str) else None
        if cwd is None or not (folder / cwd).is_dir():
            raise TargetError(f'{place}: "cwd" must be a folder, and {entry["cwd"]!r} is none')
    working = None if cwd is None else (folder / cwd).resolve()
    program = _expanded(place, command)
    _check_command(place, program, environment, working)
    return Command(
        command=program,
        arguments=tuple(_expanded(place, each) for each in arguments),
        environment=environment,
        folder=working,
        shown=" ".join([command, *arguments]),
    )


def _remote(place: str, entry: Mapping[str, Any]) -> Remote:
    given = entry.get("url")
    if not isinstance(given, str) or not given:
        raise TargetError(f'{place}: "url" must be the URL of an MCP endpoint, and is {_kind(given)}')
    url = _expanded(place, given)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise TargetError(f'{place}: "url" must begin with http:// or https:// and name a host, and is {given!r}')
    headers = _texts(place, entry, "headers")
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or any(each in value for each in "\r\n\0") or not value.isascii():
            raise TargetError(f'{place}: the header {name!r} under "headers" cannot be sent: mend its name or its text')
    return Remote(url=url, headers=headers, shown=_without_secrets(given))


def _without_secrets(url: str) -> str:
    """Return a URL as it may be shown: without user, password and query."""
    scheme, slashes, rest = url.partition("//")
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}".partition("?")[0]


def _texts(place: str, entry: Mapping[str, Any], key: str) -> dict[str, str]:
    """Return an object of strings under `key`, with the values expanded."""
    value = entry.get(key, {})
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise TargetError(f'{place}: "{key}" must be an object of strings')
    return {name: _expanded(f'{place}: "{key}": {name}', text) for name, text in value.items()}


def _expanded(place: str, text: str) -> str:
    return expand(place, text, os.environ)


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
