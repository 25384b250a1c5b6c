"""TARGET, what `semel serve` is told to serve: a Python file, an object in one, or an mcp.json.

Knows which file names mean what; reading them is the work of `pyfile.py` and `mcpjson.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from semel.errors import TargetError
from semel.gateway.upstreams.declare import declaration_of
from semel.gateway.upstreams.mcpjson import read_mcp_json
from semel.gateway.upstreams.objects import serve_functions, server_of
from semel.gateway.upstreams.pyfile import load_python
from semel.gateway.upstreams.servers import InProcess, Served


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be served: MCP servers by name, and the words with which they were named."""

    text: str
    servers: Mapping[str, Served]
    file: Path | None = None
    """The mcp.json that lists them, whose changes are taken up while they are served."""

    @classmethod
    def of(cls, *objects: object) -> Self:
        """Return the target of objects of this process: one MCP server, or functions marked with @semel.tool.

        Raises:
            TargetError: they are something else.
        """
        if len(objects) == 1 and (server := server_of(objects[0])) is not None:
            return cls(server.name, {server.name: Served(InProcess(server))})
        for each in objects:
            if declaration_of(each) is None:
                raise TargetError(
                    f"{each!r} cannot be served: semel serves one MCP server, or functions marked with @semel.tool"
                )
        functions = [each for each in objects if callable(each)]
        if not functions:
            raise TargetError("there is nothing to serve: give it an MCP server, or marked functions")
        return cls("functions", {"functions": Served(serve_functions(functions, name="functions", place="here"))})


def load_target(text: str) -> Target:
    """Return what `text` names: `server.py`, `server.py:object` or `mcp.json`.

    A Python file is imported; nothing is started yet.

    Raises:
        TargetError: there is no such file, it does not load, or it holds nothing to serve.
    """
    path, object_name = find_target(text)
    if path.suffix == ".json":
        file = path.absolute()  # the working directory may change
        return Target(text, read_mcp_json(file), file)
    return Target(text, {path.stem: Served(load_python(path.resolve(), object_name))})


def find_target(text: str) -> tuple[Path, str | None]:
    """Return the file that `text` names, and the object in it if one is named; nothing is read.

    Raises:
        TargetError: there is no such file, or it is of another kind.
    """
    file, object_name = split_target(text)
    path = Path(file).expanduser()
    if path.suffix not in (".py", ".json"):
        raise TargetError(
            f"{text}: TARGET is a Python file (server.py), an object in one (server.py:app), or an mcp.json"
        )
    if not path.is_file():
        raise TargetError(f"{path}: there is no such file (seen from {Path.cwd()})")
    return path, object_name


def split_target(text: str) -> tuple[str, str | None]:
    """Return the file's name and the object's, if `text` has one behind a colon."""
    file, colon, object_name = text.rpartition(":")
    return (file, object_name) if colon and file.endswith(".py") else (text, None)
