"""Imports a Python file, finds what is to be served in it, and says where the file is wrong if it is.

Knows modules, paths and tracebacks; what can be served is told by `objects.py`.
"""

import functools
import importlib.util
import inspect
import linecache
import logging
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from mcp.server import Server

from semel.errors import TargetError
from semel.gateway.upstreams.declare import declaration_of
from semel.gateway.upstreams.objects import serve_functions, server_of
from semel.gateway.upstreams.servers import InProcess

_log = logging.getLogger(__name__)


def load_python(path: Path, object_name: str | None) -> InProcess:
    """Import `path` and return the server in it: `object_name`, or the only candidate.

    Raises:
        TargetError: it does not import, or what is to be served is not clear.
    """
    module = _import(path)
    if object_name is not None:
        return _named(path, module, object_name)
    servers = _distinct({name: found for name, value in vars(module).items() if (found := server_of(value))})
    functions = list({id(value): value for value in vars(module).values() if declaration_of(value)}.values())
    if not servers and not functions:
        raise TargetError(
            f"{path}: there is nothing to serve in it. What counts: an MCPServer or Server of the mcp package, "
            "a FastMCP object, or functions marked with @semel.tool, at the top level of the file"
        )
    if not servers:
        return serve_functions(functions, name=path.stem, place=str(path))
    if len(servers) == 1 and not functions:
        return InProcess(next(iter(servers.values())))
    marked = [f"{each.__name__} (a marked function)" for each in functions]
    raise TargetError(
        f"{path}: there is more than one thing to serve in it: {', '.join([*servers, *marked])}. "
        f"Say which: {path.name}:{next(iter(servers))}"
    )


def _named(path: Path, module: ModuleType, object_name: str) -> InProcess:
    try:
        value: Any = functools.reduce(getattr, object_name.split("."), module)
    except AttributeError:
        raise TargetError(f"{path}: there is no {object_name!r} in it") from None
    if (found := server_of(value)) is not None:
        return InProcess(found)
    if declaration_of(value):
        return serve_functions([value], name=path.stem, place=str(path))
    hint = ": mark the function with @semel.tool" if inspect.isfunction(value) else ""
    raise TargetError(f"{path}:{object_name} is {type(value).__name__}, which is nothing to serve{hint}")


def _distinct(servers: Mapping[str, Server[Any]]) -> dict[str, Server[Any]]:
    """Return each server once, under the first of its names."""
    firsts: dict[int, str] = {}
    for name, server in servers.items():
        firsts.setdefault(id(server), name)
    return {name: servers[name] for name in firsts.values()}


def _import(path: Path) -> ModuleType:
    """Return the file as a module; its folder stays on `sys.path`, as it does for a script."""
    name = path.stem if path.stem not in sys.modules else f"semel_target_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a file may also call sys.exit()
        del sys.modules[name]
        raise TargetError(_why_not(path, error)) from error
    return module


def _why_not(path: Path, error: BaseException) -> str:
    """Return where in the user's own file the import failed, and how."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return f"{path}, line {error.lineno}: {type(error).__name__}: {error.msg}"
    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == str(path)]
    place = f"{path}, line {lines[-1]}" if lines else str(path)
    source = linecache.getline(str(path), lines[-1]).strip() if lines else ""
    quoted = f" (in: {source})" if source else ""
    if isinstance(error, TargetError):
        return f"{place}: {error}"
    if isinstance(error, SystemExit):
        return f"{place}: it exits while it is imported{quoted}: put that under if __name__ == '__main__'"
    return f"{place}: {type(error).__name__}: {error}{quoted}"
