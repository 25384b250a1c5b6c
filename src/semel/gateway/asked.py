"""What a request says of its call: under which key, for whom, and whether it comes with a ticket.

Knows the places where clients put a key, in both protocol eras; nothing of nodes.
"""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mcp import types
from mcp.server import ServerRequestContext
from mcp.server.auth.middleware.auth_context import get_access_token

from semel.errors import BadKey, BadTicket
from semel.gateway import meta
from semel.gateway.ticket import Ticket

ANONYMOUS = "anonymous"
PROPOSED_KEY = "idempotencyKey"
"""The field beside `name` and `arguments` that SEP-3182 proposed. It was closed without becoming part of the protocol,
but there are clients that send it; those whose SDK has no place for it send it in `_meta`."""

KEYS_OF_CLIENTS = (PROPOSED_KEY, "claudecode/toolUseId")
"""Names in `_meta` by which clients already name their calls, each use of a tool once."""

Context = ServerRequestContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a tools/call says of its call.

    `named` is true if the request brought the key, `made` if the key was made for this one call, here or by semel's
    client. `client` is what the client program calls itself, for information. `rounds` counts the tickets that the
    request has had. `also` is its `_meta`, as it came.
    """

    key: str
    named: bool
    made: bool
    caller: str
    client: str
    rounds: int
    also: Mapping[str, Any]


def asked(context: Context, params: types.CallToolRequestParams, client_keys: Sequence[str]) -> Asked:
    """Return what a tools/call says of its call; a key is made if there is none.

    Raises:
        BadKey: key or caller is not a string, or there are two keys.
        BadTicket: the `requestState` is no ticket, or was given for another call or caller.
    """
    said = _said(context)
    key, caller = find_key(context, client_keys), find_caller(context)
    made = key is None or said.get(meta.KEY_MADE) is True
    named, rounds = key is not None, 0
    if params.request_state is not None:
        ticket = Ticket.read(params.request_state)
        if ticket.caller != caller:
            raise BadTicket("the requestState was given to another caller. Nothing was run")
        if key not in (None, ticket.key):
            raise BadTicket(f"the requestState was given for another key than {key!r}. Nothing was run")
        key, named, made, rounds = ticket.key, True, ticket.made, ticket.rounds
    return Asked(
        key=secrets.token_hex(16) if key is None else key,
        named=named,
        made=made,
        caller=caller,
        client=_client(context),
        rounds=rounds,
        also=said,
    )


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
