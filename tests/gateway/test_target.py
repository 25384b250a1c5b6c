"""What can be served is found; what cannot is said with file, line, and what to do."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from semel.core.call import Effect
from semel.errors import TargetError
from semel.gateway.upstreams.overrides import Override, Reconcile, override_of
from semel.gateway.upstreams.servers import Command, InProcess, Place, Remote, Served
from semel.gateway.upstreams.target import Target, load_target

from .conftest import Write

FUNCTIONS = """
    import semel

    @semel.tool
    def add(a: int, b: int) -> int:
        return a + b
"""


def only(target: Target) -> Place:
    (served,) = target.servers.values()
    return served.place


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
        command=sys.executable,
        arguments=("-c", "1"),
        environment={"A": "b"},
        folder=(tmp_path / "work").resolve(),
        shown=f"{sys.executable} -c 1",
    )
    assert load_target(str(file)).servers == {"time": Served(expected)}


def test_a_server_at_a_url_is_read_with_its_headers(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    entry = {
        "type": "streamable-http",
        "url": "https://${HOST:-example.org}/mcp?key=${TOKEN}",
        "headers": {"Authorization": "Bearer ${env:TOKEN}"},
    }
    remote = only(load_target(str(write(servers(far=entry), "mcp.json"))))
    assert remote == Remote(
        url="https://example.org/mcp?key=s3cret",
        headers={"Authorization": "Bearer s3cret"},
        shown="https://${HOST:-example.org}/mcp",
    )
    assert "s3cret" not in str(remote)


def test_variables_are_put_in_wherever_clients_do_so(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON", sys.executable)
    monkeypatch.setenv("ODD", "${PYTHON}")
    monkeypatch.setenv("EMPTY", "")
    entry = {
        "command": "${PYTHON}",
        "args": ["-c", "${NOBODY_HAS_THIS:-a:-b}", "${ODD}", "<${EMPTY:-x}>", "${a%b} $PYTHON"],
        "env": {"A": "${NOBODY_HAS_THIS:-}"},
    }
    command = only(load_target(str(write(servers(a=entry), "mcp.json"))))
    assert isinstance(command, Command)
    assert command.command == sys.executable
    assert command.arguments == ("-c", "a:-b", "${PYTHON}", "<>", "${a%b} $PYTHON")
    assert command.environment == {"A": ""}
    assert str(command).startswith("${PYTHON} -c")


def test_the_form_of_vs_code_is_read_too(write: Write) -> None:
    file = write(json.dumps({"inputs": [], "servers": {"a": {"type": "stdio", "command": "sh"}}}), "mcp.json")
    assert isinstance(only(load_target(str(file))), Command)


def test_what_the_operator_says_of_tools_is_read(write: Write) -> None:
    said = {
        "tools": {
            "*": {"timeoutS": 30},
            "charge": {"effect": "once", "serializeBy": "account", "reconcile": "find_charge"},
            "pay": {"reconcile": {"tool": "find", "found": "/charge/id", "keyArgument": "key"}},
        }
    }
    (served,) = load_target(
        str(write(servers(a={"command": "sh", "semel": said, "autoApprove": []}), "mcp.json"))
    ).servers.values()
    assert served.overrides == {
        "*": Override(timeout_s=30.0),
        "charge": Override(effect=Effect.ONCE, serialize_by="account", reconcile=Reconcile(tool="find_charge")),
        "pay": Override(reconcile=Reconcile(tool="find", found="/charge/id", key_argument="key")),
    }
    assert override_of(served.overrides, "other") == Override(timeout_s=30.0)
    assert override_of(served.overrides, "charge").timeout_s == 30.0


def test_an_mcp_json_says_what_a_server_is_told_of_clients(write: Write) -> None:
    said = {"clientsCan": ["sampling", "roots", "roots"]}
    entries = {
        "a": {"command": "sh", "semel": said},
        "b": {"url": "http://b/mcp", "semel": said},
        "c": {"command": "sh"},
    }
    target = load_target(str(write(servers(**entries), "mcp.json")))
    told = [each.place.clients_can for each in target.servers.values() if not isinstance(each.place, InProcess)]
    assert told == [("roots", "sampling"), ("roots", "sampling"), ()]


def tools(**entries: Any) -> str:
    return servers(a={"command": "sh", "semel": {"tools": entries}})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tools(f={"efect": "read"}), "'efect' says nothing to semel: did you mean 'effect'"),
        (tools(f={"effect": "write"}), "\"effect\" is one of read, repeatable, once, and not 'write'"),
        (tools(f={"timeoutS": True}), "a number of seconds over 0"),
        (tools(f={"task": "sometimes"}), "never, auto, always, required"),
        (tools(f={"serializeBy": 3}), '"serializeBy" must be a string'),
        (tools(f=[]), "the tool 'f': it must be an object with any of effect"),
        (tools(f={"reconcile": {}}), '"tool" must be the name of a read tool'),
        (tools(f={"reconcile": {"tool": "g", "found": "id"}}), "is a JSON pointer"),
        (tools(f={"effect": "read", "reconcile": "g"}), "only a call of a once tool is ever in doubt"),
        (servers(a={"command": "sh", "semel": {"tool": {}}}), "did you mean 'tools'"),
        (servers(a={"command": "sh", "semel": {"tools": []}}), "an object of tools by their names"),
        (servers(a={"command": "sh", "semel": {"clientsCan": "roots"}}), "a list of any of sampling, elicitation"),
        (servers(a={"command": "sh", "semel": {"clientsCan": ["talk"]}}), "a list of any of sampling, elicitation"),
        (servers(a={"url": "ftp://x"}), "must begin with http://"),
        (servers(a={"url": "http://:80"}), "must begin with http://"),
        (servers(a={"url": 3}), "must be the URL of an MCP endpoint"),
        (servers(a={"url": "http://x", "headers": {"A B": "c"}}), "the header 'A B'"),
        (servers(a={"url": "http://x", "headers": {"A": "c\nd"}}), "the header 'A'"),
        (servers(a={"url": "http://x", "type": "sse"}), "which MCP gave up in 2025"),
        (servers(a={"command": "sh", "type": "ws"}), '"type" is "stdio" or "http"'),
        (servers(a={"command": "sh", "envFile": ".env"}), "'a': semel does not know \"envFile\""),
        (servers(a={"serverUrl": "http://x"}), 'write "url"'),
        (servers(a={"command": "sh", "env": {"A": "${NOBODY_HAS_THIS}"}}), "NOBODY_HAS_THIS is not set"),
        (servers(a={"command": "sh", "args": ["${input:token}"]}), "is for a client with a window"),
    ],
)
def test_what_semel_cannot_do_as_an_mcp_json_says_is_told_with_its_place(write: Write, content: str, said: str) -> None:
    with pytest.raises(TargetError, match=said) as caught:
        load_target(str(write(content, "mcp.json")))
    assert "mcp.json: server 'a'" in str(caught.value)


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
    ],
)
def test_a_bad_mcp_json_is_told_with_its_place(write: Write, content: str, said: str) -> None:
    file = write("", "mcp.json")
    file.write_text(content)
    with pytest.raises(TargetError, match=said) as caught:
        load_target(str(file))
    assert "mcp.json" in str(caught.value)
