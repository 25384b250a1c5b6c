"""The options that several commands share, and how their values are read."""

import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

DEFAULT_PORT = 8420
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"

DRAIN_S = 10.0
"""The node's own default, told here so that the help needs none of what the node needs."""
LEVELS = ("debug", "info", "warning", "error")

Command = TypeVar("Command", bound=Callable[..., Any])


class NodeUrls(click.ParamType[tuple[str, ...]]):
    """One or several node URLs, separated by commas; a bare HOST:PORT is taken as http."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Return the URLs without /mcp at their ends."""
        if not isinstance(value, str):
            return tuple(value)
        return tuple(self._one(part, param, ctx) for part in re.split(r"[,\s]+", value.strip(", \t")))

    def split_envvar_value(self, rv: str) -> list[str]:
        """Leave the splitting to `convert`."""
        return [rv]

    def _one(self, text: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        url = text if "://" in text else f"http://{text}"
        try:
            parts = urlsplit(url)
            sound = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
        except ValueError:
            sound = False
        if not sound:
            self.fail(f"{text!r} is not the URL of a node, such as {DEFAULT_URL}", param, ctx)
        return url.rstrip("/").removesuffix("/mcp")


def flat_urls(_: click.Context, __: click.Parameter, values: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """Return the URLs of all values, each once."""
    return tuple(dict.fromkeys(url for urls in values for url in urls))


def url_option(command: Command) -> Command:
    """Add --url, which becomes `urls`, a tuple of node URLs."""
    return click.option(
        "--url",
        "urls",
        type=NodeUrls(),
        metavar="URL",
        multiple=True,
        default=(DEFAULT_URL,),
        envvar="SEMEL_URL",
        callback=flat_urls,
        show_default=True,
        show_envvar=True,
        help="A node to ask. Give several, or a list with commas: the next is asked when one does not answer.",
    )(command)


def keys_option(command: Command) -> Command:
    """Add --key-meta, which becomes `keys`."""
    return click.option(
        "--key-meta",
        "keys",
        metavar="NAME",
        multiple=True,
        help="A further _meta entry of a request that may hold its idempotency key; may be repeated.",
    )(command)


def _require_key_option(command: Command) -> Command:
    return click.option(
        "--require-key",
        is_flag=True,
        help="Refuse a call of a once tool that brings no idempotency key, instead of making one for it.",
    )(command)


def json_option(text: str) -> Callable[[Command], Command]:
    """Add --json, which becomes `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help=text)


def linearizable_option(command: Command) -> Command:
    """Add --linearizable, which becomes `linearizable`."""
    return click.option(
        "--linearizable",
        is_flag=True,
        help="First let the node read all that is in the log now. Without: what it has read so far.",
    )(command)


def timeout_option(
    default_s: float, text: str = "Give up waiting for an answer after this long."
) -> Callable[[Command], Command]:
    """Add --timeout, which becomes `timeout_s`."""
    return click.option(
        "--timeout",
        "timeout_s",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        default=default_s,
        show_default=True,
        help=text,
    )


def serving_options(*, drain: str, level: str) -> Callable[[Command], Command]:
    """Add what every command that runs nodes has: --key-meta, --require-key, --drain, --loop and --log-level.

    `drain` and `level` are the helps of the options of that name.
    """
    options = (
        keys_option,
        _require_key_option,
        click.option(
            "--drain",
            "drain_s",
            metavar="SECONDS",
            type=click.FloatRange(min=0),
            default=DRAIN_S,
            show_default=True,
            help=drain,
        ),
        click.option(
            "--loop",
            type=click.Choice(("uvloop", "asyncio")),
            default="uvloop",
            show_default=True,
            help="The event loop that tools run on; asyncio's own is for tools that need what uvloop does not have, "
            "such as nest_asyncio, or user= for a subprocess.",
        ),
        click.option(
            "--log-level",
            type=click.Choice(LEVELS),
            metavar="LEVEL",
            default="warning",
            show_default=True,
            help=f"{level}: {', '.join(LEVELS)}.",
        ),
    )

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add
