"""`semel call` and `semel tools`: run a tool once, and see which tools there are."""

import json
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from semel.cli.asking import ask
from semel.cli.exits import Exit
from semel.cli.lesson import Lesson
from semel.cli.options import json_option, timeout_option, url_option
from semel.cli.output import note, print_json, print_lines, stdout_console, width_of
from semel.cli.table import Column, field, printable, table
from semel.errors import CallError, LogError, SemelError, UsageError
from semel.gateway import meta

if TYPE_CHECKING:
    from semel.gateway.clients.client import Answer, Client

DOUBT = "In doubt: "
"""How a node begins to say so; the console begins so itself."""
EFFECT_STYLES = {"read": "green", "repeatable": "cyan", "once": "yellow"}
JSON_SHOWN_CHARS_MAX = 60
"""How much of a faulty JSON text an error repeats."""


CALL_LESSON = """\
Examples:
  semel call add '{"a": 1, "b": 2}'
  semel call charge @order.json --key order-42
  semel call charge @order.json --key order-42     # the same answer, not a second charge
  semel call report --json | jq .position

Exit codes: 0 done; 1 the tool said error; 3 refused, nothing was run; 4 no answer for now,
retrying with the same key is safe; 5 in doubt: the tool may have acted or not, and is not run again.
"""


@click.command(cls=Lesson, lesson=CALL_LESSON)
@click.argument("tool")
@click.argument("arguments", metavar="[JSON]", default="{}")
@click.option(
    "--key", metavar="KEY", help="Names the call: the same key again gets the first answer, and no second run."
)
@url_option
@json_option("Print the whole answer as JSON.")
@click.option("--caller", metavar="NAME", help="Whose call it is; keys of two callers do not meet.")
@timeout_option(60.0, "Give up waiting for the answer after this long; the call itself goes on.")
def call(
    tool: str,
    arguments: str,
    key: str | None,
    urls: tuple[str, ...],
    as_json: bool,
    caller: str | None,
    timeout_s: float,
) -> Exit:
    """Run TOOL once and print its result.

    JSON is the tool's arguments as an object; leave it out for none, write - to read it from stdin, or @FILE to
    read it from a file. A text is printed as it is, anything else as JSON.

    Without --key a key is made for this one call, and shown if a retry may be needed.
    """
    given = read_arguments(arguments)
    used_key = key if key is not None else secrets.token_hex(16)

    async def question(client: "Client") -> "Answer":
        return await client.call(tool, given, key=used_key, made=key is None)

    try:
        answer = ask(urls, question, timeout_s=timeout_s, caller=caller)
    except SemelError as error:
        _advise(error, used_key)
        raise
    except KeyboardInterrupt:
        note(f"the call may go on without you; its outcome is kept under --key {used_key}")
        raise
    return _tell(answer, as_json=as_json)


def read_arguments(text: str) -> dict[str, Any]:
    """Return the object that `text`, stdin (-) or a file (@FILE) holds.

    Raises:
        UsageError: it cannot be read, or is not a JSON object.
    """
    source, text = _read(text)
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        json.dumps(value, ensure_ascii=False).encode()  # JSON can spell half a character, which is no text
    except (ValueError, RecursionError) as error:
        shown = printable(text[:JSON_SHOWN_CHARS_MAX]) + ("…" if len(text) > JSON_SHOWN_CHARS_MAX else "")
        raise UsageError(
            f"{source} is not JSON ({error}): {shown}\n"
            """Write an object in single quotes, such as '{"a": 1}', and leave it out for no arguments."""
        ) from error
    if not isinstance(value, dict):
        raise UsageError(f"""{source} is JSON but no object: the tool's arguments go by name, such as '{{"a": 1}}'""")
    return value


def _read(text: str) -> tuple[str, str]:
    """Return where the JSON comes from, in words, and the JSON."""
    try:
        if text == "-":
            return "stdin", sys.stdin.read()
        if text.startswith("@"):
            return text[1:], Path(text[1:]).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{text[1:]!r} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{text[1:] or 'stdin'} cannot be read as UTF-8 text: {error}") from error
    return "the argument", text


def _refuse_constant(name: str) -> None:
    raise ValueError(f"there is no {name} in JSON")


def _advise(error: SemelError, key: str) -> None:
    """Say beside the error what a retry would do, where that is not clear."""
    if isinstance(error, CallError) or key in str(error):
        return
    if error.retry_safe:
        error.add_note(f"Retrying with the same key is safe: add --key {key}")
    elif not isinstance(error, UsageError):
        whether = "the call may have run" if isinstance(error, LogError) else "it is not known whether the call ran"
        error.add_note(f"Retrying without the key is not safe: {whether}; see `semel audit --key {key}` first")


def _tell(answer: "Answer", *, as_json: bool) -> Exit:
    if as_json:
        print_json(whole_answer(answer), indent=2)
    elif not answer.in_doubt:
        click.echo(answer.result if isinstance(answer.result, str) else json.dumps(answer.result, ensure_ascii=False))
    if not answer.logged:
        note(
            f"the log cannot be written just now: {answer.executor} read this without it, and logs it when it can",
            label="not in the log: ",
        )
    if answer.in_doubt:
        note(str(answer.result).removeprefix(DOUBT), label=DOUBT.lower(), style="red")
        note(f"`semel audit --key {answer.key}` shows the call, and its outcome should that still come")
        return Exit.IN_DOUBT
    if answer.outcome != "ok":
        note(f"the tool ended with this; it is kept under --key {answer.key}", label=f"{answer.outcome}: ", style="red")
        return Exit.TOOL
    return Exit.OK


def whole_answer(answer: "Answer") -> dict[str, Any]:
    """Return all that `semel call --json` says of an answer."""
    return {
        "outcome": answer.outcome,
        "result": answer.result,
        "key": answer.key,
        "position": answer.position,
        "execution_id": answer.execution_id,
        "term": answer.term,
        "executor": answer.executor,
        "attempt": answer.attempt,
        "replayed": answer.replayed,
        "in_doubt": answer.in_doubt,
        "logged": answer.logged,
        "content": answer.content,
    }


TOOLS_LESSON = """\
The effect of a tool decides what happens when the node dies that runs it:
  read        it changes nothing: run again as often as needed
  repeatable  again is harmless: the next leader finishes it
  once        never started twice: in doubt until its outcome is known

Where it comes from: operator (under "semel" in mcp.json), author (who marked the function, or
whose server says so), annotations (MCP's hints of the server), or default, which is once.

Examples:
  semel tools
  semel tools --json | jq -r '.[].name'
"""


@click.command(cls=Lesson, lesson=TOOLS_LESSON)
@url_option
@json_option("Print the tools as one JSON array, as MCP's tools/list shows them.")
@timeout_option(5.0)
def tools(urls: tuple[str, ...], as_json: bool, timeout_s: float) -> None:
    """List a node's tools, what running one twice would do, and who says so."""

    async def question(client: "Client") -> list[dict[str, Any]]:
        return [dict(tool) for tool in await client.tools()]

    found = ask(urls, question, timeout_s=timeout_s)
    if as_json:
        print_json(found, indent=2)
        return
    console = stdout_console()
    print_lines(console, table(TOOL_COLUMNS, found, width_of(console)))


def effect_of(tool: Mapping[str, Any]) -> str:
    """Return the effect class that a node says its tool has."""
    return str((tool.get("_meta") or {}).get(meta.EFFECT, "once"))


def _source(tool: Mapping[str, Any]) -> str:
    """Return who says that a tool has its effect; "" if the node does not tell."""
    return printable(str((tool.get("_meta") or {}).get(meta.EFFECT_FROM, "")))


def _description(tool: Mapping[str, Any]) -> str:
    lines = str(tool.get("description") or tool.get("title") or "").strip().splitlines()
    return printable(lines[0]) if lines else ""


TOOL_COLUMNS = (
    field("name"),
    Column(name="effect", show=effect_of, style=lambda tool: EFFECT_STYLES.get(effect_of(tool), "")),
    Column(name="from", show=_source, style=lambda tool: "bold" if _source(tool) == "operator" else "dim", rank=1),
    Column(name="description", show=_description, width_max=100),
)
