"""Requests to /mcp, made from a seed: plain calls, odd ones, wrong ones, and what is no request at all.

Each begins as a plain call of 2026-07-28, and is then changed in up to three ways. What they have in common is that a
server must answer each, and that two ways to answer are comparable.
"""

import base64
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Headers = list[tuple[str, str]]

ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "corpus", "version": "1"},
}

TOOLS = [
    {"name": "add", "inputSchema": {"type": "object"}},
    {"name": "größe", "inputSchema": {"type": "object"}},
    {
        "name": "routed",
        "inputSchema": {
            "type": "object",
            "properties": {
                "region": {"type": "string", "x-mcp-header": "Region"},
                "count": {"type": "integer", "x-mcp-header": "Count"},
                "deep": {"type": "object", "properties": {"flag": {"type": "boolean", "x-mcp-header": "Flag"}}},
            },
        },
    },
    {
        "name": "misrouted",
        "inputSchema": {"type": "object", "properties": {"a": {"type": "number", "x-mcp-header": "A"}}},
    },
]

ODD_VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.0, -0.0, 1e16, 1.5, 2**53, 2**64, -(2**63) - 1, 10**40),
    *("", "x", "add", "ü", "😀", "\x00", "\x7f", "a b", " ", "2026-07-28", "2025-11-25", "1999-01-01"),
    *([], [1], {}, {"a": None}, {"": []}, {"name": "x", "version": "1"}, [[[[]]]]),
]

DEEP_TEXTS = ["[" * 3000 + "]" * 3000, '{"a":' * 3000 + "1" + "}" * 3000]
"""How deep a reader goes differs: the SDK's of lines to 200, `json` and msgspec to some 1,000 on Python 3.11, 1,500 on
3.12 and 10,000 on 3.13."""

ODD_TEXTS = [
    *("", " ", "null", "1", '"x"', "[]", "[{}]", "{}", "NaN", "{", "]", "\ufeff{}", "{'a':1}", "tru", "1e400"),
    *('{"jsonrpc":"2.0"}', '{"jsonrpc":"2.0","id":1,"result":{}}', '{"jsonrpc":"2.0","method":"notifications/x"}'),
    *DEEP_TEXTS,
]

_MARK = "@@raw@@"


@dataclass
class Made:
    """A request on its way to be made: `raw` has texts that go into the body as they are, wherever `_MARK` stands."""

    headers: dict[str, list[str]]
    body: dict[str, Any]
    raw: str | None = None
    whole: bytes | None = None
    cuts: int = 0
    what: list[str] = field(default_factory=list)

    @property
    def params(self) -> dict[str, Any]:
        params = self.body.get("params")
        return params if isinstance(params, dict) else {}

    @property
    def meta(self) -> dict[str, Any]:
        meta = self.params.get("_meta")
        return meta if isinstance(meta, dict) else {}


@dataclass(frozen=True)
class Request:
    """One request: headers in lower case, as every ASGI server gives them, and the body in pieces."""

    headers: Headers
    pieces: list[bytes]
    what: str


def requests(seed: int, count: int) -> list[Request]:
    """Return so many requests; the first is a plain call."""
    dice = random.Random(seed)
    return [_finished(_made(dice, number), dice) for number in range(count)]


def _made(dice: random.Random, number: int) -> Made:
    tool = dice.choice(["add"] * 6 + ["routed", "routed", "misrouted", "größe", "nowhere", "=?base64?YWRk?="])
    arguments = {"a": dice.randrange(100), "b": dice.randrange(100)}
    meta = {**ENVELOPE, "dev.semel/idempotency-key": f"key-{number}"}
    headers = {
        "host": ["127.0.0.1:8420"],
        "content-type": ["application/json"],
        "accept": ["application/json, text/event-stream"],
        "mcp-protocol-version": ["2026-07-28"],
        "mcp-method": ["tools/call"],
        "mcp-name": [_header(tool)],
    }
    if tool == "routed":
        region, count = dice.choice(["eu", "ü", " x", ""]), dice.choice([1, 7, 42, 1.0, 10**30])
        arguments = {"region": region, "count": count, "deep": {"flag": dice.random() < 0.5}}
        headers["mcp-param-region"] = [_header(region)]
        headers["mcp-param-count"] = [dice.choice([str(count), "42", "42.0", "042"])]
        headers["mcp-param-flag"] = [dice.choice(["true", "false"])]
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    request_id = dice.choice([number, str(number), 2**70, "", "ü"])
    made = Made(headers, {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": params})
    for _ in range(0 if number == 0 else dice.choice([0, 0, 1, 1, 1, 2, 3])):
        change = dice.choice(CHANGES)
        made.what.append(change.__name__)
        change(made, dice)
    return made


def _header(value: str) -> str:
    plain = value.isascii() and value == value.strip() and not value.startswith("=?")
    return value if plain else f"=?base64?{base64.b64encode(value.encode()).decode()}?="


# Changes that leave a good request.


def leave_out_client_info(made: Made, _dice: random.Random) -> None:
    made.meta.pop("io.modelcontextprotocol/clientInfo", None)


def other_capabilities(made: Made, dice: random.Random) -> None:
    made.meta["io.modelcontextprotocol/clientCapabilities"] = dice.choice(
        [
            {"roots": {}},
            {"sampling": {"tools": {}}, "elicitation": {"form": {}, "url": {}}},
            {"experimental": {"x": {"y": 1}}, "unknown": 1},
            {"extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html"]}}},
            {"extensions": {"io.modelcontextprotocol/tasks": {}}},
            {"extensions": {"x": 1}},
            {"extensions": []},
            {"roots": 1},
        ]
    )


def other_client_info(made: Made, dice: random.Random) -> None:
    made.meta["io.modelcontextprotocol/clientInfo"] = dice.choice(
        [{"name": "x"}, {"name": "x", "version": "1", "title": "X", "more": 1}, {"name": "", "version": ""}, None, []]
    )


def no_key(made: Made, _dice: random.Random) -> None:
    made.meta.pop("dev.semel/idempotency-key", None)


def key_in_a_header(made: Made, dice: random.Random) -> None:
    made.meta.pop("dev.semel/idempotency-key", None)
    made.headers["idempotency-key"] = dice.choice([["k"], ['"k"'], ["a", "b"], [""], ['""'], ["x" * 400]])


def proposed_key(made: Made, dice: random.Random) -> None:
    made.meta.pop("dev.semel/idempotency-key", None)
    made.params["idempotencyKey"] = dice.choice(["k", "", 1, None, "ü"])


def more_in_meta(made: Made, dice: random.Random) -> None:
    names = ["traceparent", "x/y", "", "claudecode/toolUseId", "idempotencyKey", "progressToken"]
    names += ["dev.semel/caller", "dev.semel/client", "dev.semel/key-made"]
    names += ["io.modelcontextprotocol/logLevel", "io.modelcontextprotocol/other"]
    made.meta[dice.choice(names)] = dice.choice([*ODD_VALUES, "debug", "warning"])


def other_arguments(made: Made, dice: random.Random) -> None:
    made.params["arguments"] = dice.choice(
        [{}, {"x": dice.choice(ODD_VALUES)}, {"": {"": [None, 1.5, "\u2028"]}}, {"text": "ü" * dice.randrange(2000)}]
    )


def no_arguments(made: Made, _dice: random.Random) -> None:
    made.params.pop("arguments", None)


def body_in_pieces(made: Made, dice: random.Random) -> None:
    made.cuts = dice.randrange(1, 5)


def unrelated_headers(made: Made, dice: random.Random) -> None:
    made.headers[dice.choice(["x-y", "authorization", "cookie", "mcp-other", "mcp-param-x", "accept-language"])] = ["z"]


# Changes that mostly do not.


def drop_a_header(made: Made, dice: random.Random) -> None:
    made.headers.pop(dice.choice([*made.headers]), None)


def double_a_header(made: Made, dice: random.Random) -> None:
    name = dice.choice([*made.headers])
    made.headers[name] = [*made.headers[name], dice.choice([*made.headers[name], "x"])]


def other_header(made: Made, dice: random.Random) -> None:
    name = dice.choice([*made.headers, "mcp-session-id", "last-event-id", "content-length", "mcp-param-a"])
    values = ["", "x", "add", "tools/call", "TOOLS/CALL", "tools/list", "2026-07-28", "2025-11-25", "2025-06-18"]
    values += [
        "=?base64?YWRk?=",
        "=?base64?YWRl?=",
        "=?base64?YW=?=",
        "=?base64?!?=",
        "=?base64?gA==?=",
        "\xfc",
        "true",
    ]
    values += [
        "application/json",
        "APPLICATION/JSON; charset=utf-8",
        "application/jsonx",
        "text/plain",
        "*/*",
        "text/*",
    ]
    values += ["application/json;q=0.5,text/event-stream;q=0", "text/event-stream", "application/*, text/*", "42"]
    made.headers[name] = [dice.choice(values)]


def odd_member(made: Made, dice: random.Random) -> None:
    place = dice.choice([made.body, made.body, made.params, made.params, made.meta])
    names = [*place, "extra", "task", "requestState", "inputResponses", "id", "params", "result", "error"]
    place[dice.choice(names)] = dice.choice(ODD_VALUES)


def drop_a_member(made: Made, dice: random.Random) -> None:
    place = dice.choice([made.body, made.params, made.meta])
    place.pop(dice.choice([*place, "x"]), None)


def raw_text(made: Made, dice: random.Random) -> None:
    place = dice.choice([made.body, made.params, made.params.get("arguments") or {}, made.meta])
    place[dice.choice([*place, "x"])] = _MARK
    texts = [
        "1.0",
        "1e2",
        "-0",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "01",
        "9" * 30,
        "9" * 5000,
        '"\\ud800"',
        "1,2",
    ]
    made.raw = dice.choice([*texts, '"\\ud83d\\ude00"', '"a\nb"', '"\\u0000"', '1,"x":2', '{"a":1,"a":2}', *ODD_TEXTS])


def other_body(made: Made, dice: random.Random) -> None:
    made.whole = dice.choice(ODD_TEXTS).encode()


def damaged_bytes(made: Made, dice: random.Random) -> None:
    body = bytearray(json.dumps(made.body).encode())
    for _ in range(dice.randrange(1, 4)):
        body[dice.randrange(len(body))] = dice.choice([0, 9, 10, 34, 44, 92, 123, 125, 0xC3, 0xED, 0xFF])
    made.whole = bytes(body)


def other_encoding(made: Made, dice: random.Random) -> None:
    made.whole = json.dumps(made.body).encode(dice.choice(["utf-8-sig", "utf-16", "utf-32", "utf-16-le"]))


def batch(made: Made, dice: random.Random) -> None:
    made.whole = json.dumps([made.body] * dice.randrange(3)).encode()


def doubled_member(made: Made, dice: random.Random) -> None:
    name = dice.choice([*made.body])
    first = json.dumps({name: dice.choice([made.body[name], *ODD_VALUES])})
    made.whole = f"{first[:-1]}, {json.dumps(made.body)[1:]}".encode()


Change = Callable[[Made, random.Random], None]

CHANGES: list[Change] = [
    *(leave_out_client_info, other_capabilities, other_client_info, no_key, key_in_a_header, proposed_key),
    *(more_in_meta, more_in_meta, other_arguments, no_arguments, body_in_pieces, unrelated_headers),
    *(drop_a_header, double_a_header, other_header, other_header, odd_member, odd_member, drop_a_member),
    *(raw_text, raw_text, other_body, damaged_bytes, other_encoding, batch, doubled_member),
]


def _finished(made: Made, dice: random.Random) -> Request:
    body = made.whole
    if body is None:
        text = json.dumps(made.body, ensure_ascii=dice.random() < 0.5)
        body = text.replace(f'"{_MARK}"', made.raw if made.raw is not None else "").encode("utf-8", "surrogatepass")
    made.headers.setdefault("content-length", [str(len(body))])
    if dice.random() < 0.03:
        del made.headers["content-length"]
    headers = [(name, value) for name, values in made.headers.items() for value in values]
    dice.shuffle(headers)
    places = sorted(dice.randrange(len(body) + 1) for _ in range(made.cuts))
    pieces = [body[begin:end] for begin, end in zip([0, *places], [*places, len(body)], strict=True)]
    return Request(headers, pieces, " ".join(made.what))
