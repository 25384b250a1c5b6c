"""Asks a client of the handshake eras what a tool wants to know, and goes on with its answers, round after round.

A client of 2026-07-28 is told what is wanted, and comes again by itself.
"""

from collections.abc import Mapping
from typing import Any

from mcp import MCPError, types
from mcp_types.methods import is_input_required

from semel.gateway import meta
from semel.gateway.doors.asked import Asked, follow
from semel.gateway.doors.door import Door
from semel.gateway.doors.hearing import Hearing
from semel.gateway.doors.inquiries import Inquiry
from semel.gateway.doors.ticket import InquiryTicket

_ROUNDS_MAX = 32
"""How often a tool may ask a client of the handshake eras in the course of one request, before that is an error."""


async def called(
    door: Door, tool: str, arguments: Mapping[str, Any], rounds: list[Asked], hearing: Hearing
) -> Mapping[str, Any]:
    """Return the result of a call; a client of the handshake eras is asked here what its tool wants to know.

    That adds to the `rounds` of the call. A client of 2026-07-28 is told what it wants, and comes again.
    """
    for _ in range(_ROUNDS_MAX):
        result = await door.call(tool, arguments, rounds[-1], hearing)
        if hearing.modern or not is_input_required(result):
            return result
        replies, refused = await _answers(result, hearing)
        rounds.append(follow(rounds[-1], str(result.get("requestState")), replies, refused))
        if refused.keys() - rounds[-1].refused.keys():  # it can only be told of answers
            return failure(f"{tool} asks for more input, and cannot have it: {_texts(refused)}", result)
    return failure(f"{tool} has asked for more input {_ROUNDS_MAX} times in one request", {})


async def asked_for(door: Door, inquiry: Inquiry, hearing: Hearing) -> dict[str, Any]:
    """Return the result of a request that is no call, as `called` does of a call."""
    method = inquiry.method
    for _ in range(_ROUNDS_MAX):
        result = await door.ask(inquiry, hearing)
        if hearing.modern or not is_input_required(result):
            return result
        replies, refused = await _answers(result, hearing)
        state = str(result.get("requestState"))
        if refused.keys() - InquiryTicket.read(state).questions.keys():  # its server can only be told of answers
            raise MCPError(types.INVALID_REQUEST, f"{method} asks for input, and cannot have it: {_texts(refused)}")
        inquiry = inquiry.following(state, replies, refused)
    raise MCPError(types.INTERNAL_ERROR, f"{method} has asked for input {_ROUNDS_MAX} times in one request")


def failure(text: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a CallToolResult that says that a call failed, in semel's words; what `result` said in `_meta` is kept."""
    said = {**(result.get("_meta") or {}), meta.SOURCE: "semel"}
    return {"content": [{"type": "text", "text": text}], "isError": True, "_meta": said}


async def _answers(result: Mapping[str, Any], hearing: Hearing) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a client answers to all that an InputRequiredResult asks for, by name, and its errors."""
    replies, refused = {}, {}
    for name, each in (result.get("inputRequests") or {}).items():
        try:
            replies[name] = await hearing.ask(each["method"], each.get("params") or {})
        except MCPError as error:
            refused[name] = error.error.model_dump(exclude_none=True)
    return replies, refused


def _texts(errors: Mapping[str, Any]) -> str:
    return "; ".join(str(error["message"]) for error in errors.values())
