"""What a request says of its call: under which key, for whom, and whether it comes with a ticket.

Knows the places where clients put a key, in both protocol eras; nothing of nodes.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from mcp import types
from mcp.server import ServerRequestContext
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    LOG_LEVEL_META_KEY,
    PROTOCOL_VERSION_META_KEY,
)
from msgspec.structs import replace

from semel.core.call import CallId
from semel.errors import BadArguments, BadKey, BadTicket
from semel.gateway import meta
from semel.gateway.doors.ticket import Ticket
from semel.gateway.taskmode import without_tasks
from semel.node.backend import Details

ANONYMOUS = "anonymous"
PROPOSED_KEY = "idempotencyKey"
"""The field beside `name` and `arguments` that SEP-3182 proposed. It was closed without becoming part of the protocol,
but there are clients that send it; those whose SDK has no place for it send it in `_meta`."""

KEYS_OF_CLIENTS = (PROPOSED_KEY, "claudecode/toolUseId")
"""Names in `_meta` by which clients already name their calls, each use of a tool once."""

ERA_2025 = "2025-11-25"
"""The one version before the extension that knows tasks."""

Context = ServerRequestContext[Any, Any]

_LEVEL = "dev.semel/log-level"
_PARTY = "dev.semel/party"
_PARTY_CHARS_MAX = 64
_TOLD_OTHERWISE = frozenset(
    {
        meta.KEY,
        meta.KEY_MADE,
        meta.CALLER,
        meta.CLIENT,
        meta.REFUSED,
        meta.ERRORS_AS_RESULTS,
        meta.AS_TASK,
        CLIENT_INFO_META_KEY,
    }
)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a tools/call says of its call.

    `named` is true if the request brought the key, `made` if the key was made for this one call, here or by semel's
    client. `client` is what the client program calls itself, for information. `held` counts the tickets that the
    request has had because its call was held. `details` is the rest, for the node: what the tool may learn of `_meta`,
    and the round; `replies` are answers to what a running tool has asked, by the keys of its questions, and `refused`
    the errors in the place of answers. `state` is the request's own `requestState`. `as_task` is true if the request
    itself wants a task for an answer, as those of 2025-11-25 can. `also` is its `_meta`, as it came.
    """

    key: str
    named: bool
    made: bool
    caller: str
    client: str
    held: int = 0
    details: Details = msgspec.field(default_factory=Details)
    replies: Mapping[str, Any] = msgspec.field(default_factory=dict)
    refused: Mapping[str, Any] = msgspec.field(default_factory=dict)
    state: str | None = None
    as_task: bool = False
    also: Mapping[str, Any] = msgspec.field(default_factory=dict)

    @property
    def id(self) -> CallId:
        """The call, and its round."""
        return CallId(self.caller, self.key, self.details.round)


def asked(context: Context, params: types.CallToolRequestParams, client_keys: Sequence[str]) -> Asked:
    """Return what a tools/call says of its call; a key is made if there is none.

    Raises:
        BadKey: key or caller is not a string, or there are two keys.
        BadTicket: the `requestState` is no ticket, or was given for another call or caller.
        BadArguments: what it answers is no text that could be passed on.
    """
    said = _said(context)
    key, caller = find_key(context, client_keys), find_caller(context)
    made = key is None or said.get(meta.KEY_MADE) is True
    given = Asked(
        key=secrets.token_hex(16) if key is None else key,
        named=key is not None,
        made=made,
        caller=caller,
        client=_client(context),
        details=Details(meta=call_meta(context)),
        as_task=_wants_task(context),
        also=said,
    )
    replies, refused = (context.params or {}).get("inputResponses"), said.get(meta.REFUSED)
    if replies is not None or refused is not None:
        check_text([replies, refused])
    if params.request_state is not None:
        return follow(
            given,
            params.request_state,
            replies if isinstance(replies, dict) else {},
            refused if isinstance(refused, dict) else {},
        )
    if isinstance(replies, dict):  # of a client that knows what it will be asked
        return replace(given, details=replace(given.details, answers={"inputResponses": replies}))
    return given


def follow(given: Asked, state: str, replies: Mapping[str, Any], refused: Mapping[str, Any]) -> Asked:
    """Return what a request means that brings a ticket, and replies to what was asked, or errors in their place.

    Raises:
        BadTicket: the `requestState` is no ticket, or was given for another call or caller.
    """
    ticket = Ticket.read(state)
    if ticket.caller != given.caller:
        raise BadTicket("the requestState was given to another caller. Nothing was run")
    if given.named and given.key != ticket.key:
        raise BadTicket(f"the requestState was given for another key than {given.key!r}. Nothing was run")
    answers: Mapping[str, Any] | None = ticket.answers
    if answers is not None:  # a ticket may be anybody's work, and a round's outcome is not theirs to bring
        answers = {name: answers[name] for name in ("requestState", "inputResponses") if name in answers}
    if ticket.why == "wants":
        answers = {"inputResponses": dict(replies)}
        if ticket.state is not None:
            answers = {"requestState": ticket.state, **answers}
    return replace(
        given,
        key=ticket.key,
        named=True,
        made=ticket.made,
        held=ticket.held,
        details=replace(given.details, round=ticket.round, answers=answers),
        replies={key: replies[key] for key in ticket.questions if key in replies},
        refused={key: refused[key] for key in ticket.questions if key in refused},
        state=state,
    )


def check_text(said: object) -> None:
    """Raise BadArguments if what a request says cannot be said to a server.

    Half of a surrogate pair gets through some parsers of JSON, and is nothing that can be encoded again: not by the
    transports either, which may take a server's connection down with it.
    """
    try:
        msgspec.json.encode(said)
    except (ValueError, TypeError, RecursionError) as error:
        raise BadArguments(f"the request is not JSON: {error}. Nothing was run") from error


def ticket_of(given: Asked, **named: Any) -> Ticket:
    """Return a ticket for the same call, in the same round."""
    answers = given.details.answers
    same: dict[str, Any] = {
        "held": given.held,
        "round": given.details.round,
        "answers": None if answers is None else dict(answers),
    }
    return Ticket(key=given.key, caller=given.caller, made=given.made, **{**same, **named})


def call_meta(context: Context) -> dict[str, Any]:
    """Return what of a request's `_meta` its tool may learn, with what the handshake said where there was one.

    The key, the caller and the client's name are told in other ways.
    """
    came: Mapping[str, Any] = (context.params or {}).get("_meta") or {}
    said = {name: value for name, value in came.items() if name not in _TOLD_OTHERWISE}
    if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        said[PROTOCOL_VERSION_META_KEY] = context.protocol_version
        shaken = context.session.client_capabilities
        if shaken is not None:
            said[CLIENT_CAPABILITIES_META_KEY] = shaken.model_dump(by_alias=True, mode="json", exclude_none=True)
        level = level_of(context)
        if level is not None:
            said[LOG_LEVEL_META_KEY] = level
    if isinstance(capabilities := said.get(CLIENT_CAPABILITIES_META_KEY), dict):
        said[CLIENT_CAPABILITIES_META_KEY] = without_tasks(capabilities)
    if not said.get(CLIENT_CAPABILITIES_META_KEY, True):
        del said[CLIENT_CAPABILITIES_META_KEY]  # of one that can do nothing, nothing is kept in the log
    said.pop(meta.PARTY, None)
    if CLIENT_CAPABILITIES_META_KEY in said and (party := _party(context)) is not None:
        said[meta.PARTY] = party
    if said.get(PROTOCOL_VERSION_META_KEY) in MODERN_PROTOCOL_VERSIONS:
        del said[PROTOCOL_VERSION_META_KEY]
    return said


def _wants_task(context: Context) -> bool:
    if context.protocol_version == ERA_2025:
        return "task" in (context.params or {})
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS and _said(context).get(meta.AS_TASK) is True


def _party(context: Context) -> str | None:
    """Return a name for the client of a request, None if requests of other clients may look the same."""
    claimed = _said(context).get(meta.PARTY)
    if isinstance(claimed, str):  # of `semel connect`, which has made it up: nobody else knows it
        return f"passage {claimed[:_PARTY_CHARS_MAX]}"
    caller = find_caller(context)
    if caller != ANONYMOUS:
        return f"caller {caller}"
    if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
        return None
    known: str = context.session._connection.state.setdefault(_PARTY, secrets.token_hex(8))
    return known


def level_of(context: Context) -> str | None:
    """Return the lowest level of log lines that a client of the handshake eras has asked for."""
    level: str | None = context.session._connection.state.get(_LEVEL)
    return level


def set_level(context: Context, level: str) -> None:
    """Remember that, for as long as the connection lasts."""
    context.session._connection.state[_LEVEL] = level  # made for this; `ServerRequestContext` does not show it yet


def find_key(context: Context, client_keys: Sequence[str]) -> str | None:
    """Return the key of a request: ours in `_meta`, the proposed field, the HTTP header's, the client's own, or none.

    The header may be in quotes, as the IETF's draft of `Idempotency-Key` has it, or bare, as most send it.

    Raises:
        BadKey: it is not a string, or there are two headers.
    """
    said = _said(context)
    if meta.KEY in said:
        return _text(said[meta.KEY], f"{meta.KEY} in _meta")
    params = context.params or {}
    if PROPOSED_KEY in params:
        return _text(params[PROPOSED_KEY], PROPOSED_KEY)
    if context.request is not None:
        headers = context.request.headers.getlist("idempotency-key")
        if len(headers) > 1:
            raise BadKey("there are two Idempotency-Key headers: send one. Nothing was run")
        if headers:
            bare: str = headers[0].strip()
            return bare[1:-1] if len(bare) > 1 and bare[0] == bare[-1] == '"' else bare
    for name in client_keys:
        if name in said:
            return _text(said[name], f"{name} in _meta")
    return None


def find_caller(context: Context) -> str:
    """Return who asks: whom the transport has authenticated, else who the request says it is, else "anonymous".

    The name that a client program gives itself is deliberately not asked: two programs that retry one key must
    come to one call. And a claim never outranks a proof.

    Raises:
        BadKey: the caller is not a string.
    """
    token = get_access_token()
    if token is not None:
        return token.subject or token.client_id
    said = _said(context)
    return _text(said[meta.CALLER], f"{meta.CALLER} in _meta") if meta.CALLER in said else ANONYMOUS


def _said(context: Context) -> Mapping[str, object]:
    return context.meta or {}


def _client(context: Context) -> str:
    """Return what the client program calls itself, for information; "" if it does not say."""
    said = _said(context)
    if meta.CLIENT in said:
        return _text(said[meta.CLIENT], f"{meta.CLIENT} in _meta")
    params = context.session.client_params
    return "" if params is None else f"{params.client_info.name}/{params.client_info.version}"


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise BadKey(f"{name} must be a string, and is {json.dumps(value)[:100]}. Nothing was run")
    return value
