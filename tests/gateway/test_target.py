"""What can be served is found; what cannot is said with file, line, and what to do."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from semel.errors import TargetError
from semel.gateway.servers import Command, InProcess
from semel.gateway.target import Target, load_target

from .conftest import Write

FUNCTIONS = """
    import semel

    @semel.tool
    def add(a: int, b: int) -> int:
        return a + b
"""


def only(target: Target) -> InProcess | Command:
    (server,) = target.servers.values()
    return server


@pytest.mark.parametrize(
    "source",
    [
        FUNCTIONS,
        "from mcp.server.mcpserver import MCPServer\napp = MCPServer('app')",
        "from mcp.server import Server\napp = Server('app')",
        "from fastmcp import FastMCP\napp = FastMCP('app')",
        "from mcp.server import Server\napp = Server('app')\nother_name = app",
    ],
)
def test_the_only_thing_to_serve_is_found(write: Write, source: str) -> None:
    assert isinstance(only(load_target(str(write(source)))), InProcess)


def test_an_object_is_chosen_by_its_name(write: Write) -> None:
    file = write("from mcp.server import Server\nfirst, second = Server('1'), Server('2')")
    server = only(load_target(f"{file}:second"))
    assert isinstance(server, InProcess)
    assert server.server.name == "2"


def test_a_file_may_import_its_neighbours(write: Write) -> None:
    write("def helper() -> int:\n    return 1", "neighbour.py")
    load_target(
        str(write("import neighbour\nimport semel\n@semel.tool\ndef one() -> int:\n    return neighbour.helper()"))
    )


def test_objects_of_this_process_can_be_served() -> None:
    import semel

    @semel.tool
    def add(a: int, b: int) -> int:
        return a + b

    assert isinstance(only(Target.of(add)), InProcess)
    with pytest.raises(TargetError, match="nothing to serve"):
        Target.of()
    with pytest.raises(TargetError, match="cannot be served"):
        Target.of(add, 3)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1", "nothing to serve in it. What counts: .*@semel.tool"),
        ("x = 1\nimport nowhere", r"line 2: ModuleNotFoundError: No module named 'nowhere' \(in: import nowhere\)"),
        ("x = (", "line 1: SyntaxError: '\\(' was never closed"),
        ("def f():\n    1 / 0\nf()", r"line 2: ZeroDivisionError: division by zero \(in: 1 / 0\)"),
        ("import sys\nsys.exit(3)", "line 2: it exits while it is imported .*__main__"),
        ("import semel\n@semel.tool(effect='x')\ndef f(): ...", r"line 2: @tool\(effect='x'\)"),
        ("import semel\n@semel.tool\ndef f(x: object.__init__): ...", "no schema can be made of f"),
        (
            "import semel\n@semel.tool\ndef f(): ...\n@semel.tool(name='f')\ndef g(): ...",
            "two tools are named 'f': the functions f and g",
        ),
        (
            "from mcp.server import Server\na, b = Server('1'), Server('2')",
            "more than one thing to serve in it: a, b. Say which: served.py:a",
        ),
    ],
)
def test_what_cannot_be_served_is_told_with_its_place(write: Write, source: str, said: str) -> None:
    with pytest.raises(TargetError, match=said) as caught:
        load_target(str(write(source)))
    assert "served.py" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere.py", "there is no such file"),
        ("server", r"TARGET is a Python file \(server.py\)"),
        ("served.py:nothing", "there is no 'nothing' in it"),
        ("served.py:plain", "which is nothing to serve: mark the function with @semel.tool"),
    ],
)
def test_a_target_that_names_nothing_is_refused(write: Write, name: str, said: str) -> None:
    file = write("def plain(): ...")
    with pytest.raises(TargetError, match=said):
        load_target(str(file.parent / name))


def servers(**entries: Any) -> str:
    return json.dumps({"mcpServers": entries})


def test_the_servers_of_an_mcp_json_are_read(write: Write, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    entry = {"command": sys.executable, "args": ["-c", "1"], "env": {"A": "b"}, "cwd": "work"}
    file = write(servers(time=entry, off={"disabled": True}), "mcp.json")
    expected = Command(
        command=sys.executable, arguments=("-c", "1"), environment={"A": "b"}, folder=(tmp_path / "work").resolve()
    )
    assert load_target(str(file)).servers == {"time": expected}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"mcpServers":\n {,}}', "line 2, column 3: not JSON"),
        ("[]", "this is a list"),
        ("{}", 'no "mcpServers" object'),
        (servers(), "lists no server"),
        (servers(a=[]), "server 'a': it must be an object"),
        (servers(a={}), '"command" must be the name of a program, and is missing'),
        (servers(a={"command": "sh", "args": "-c"}), '"args" must be a list of strings'),
        (servers(a={"command": "sh", "env": {"A": 1}}), '"env" must be an object of strings'),
        (servers(a={"command": "sh", "cwd": "nowhere"}), '"cwd" must be a folder'),
        (servers(a={"command": "bahs"}), "'bahs' is not on the PATH; did you mean .*bash"),
        (servers(a={"command": "qqqqqqqqqqq"}), "not on the PATH: install it"),
        (servers(a={"command": "./nowhere"}), "is no program that can be run"),
        (servers(a={"url": "http://x/mcp"}), "semel starts only stdio servers so far"),
    ],
)
def test_a_bad_mcp_json_is_told_with_its_place(write: Write, content: str, said: str) -> None:
    file = write("", "mcp.json")
    file.write_text(content)
    with pytest.raises(TargetError, match=said) as caught:
        load_target(str(file))
    assert "mcp.json" in str(caught.value)
