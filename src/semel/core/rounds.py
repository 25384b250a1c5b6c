"""The rounds of a call: when one may follow another. The fold and the requests at a node ask the same question here.

A tool may end a round by asking its caller for more (`input_required`). The caller's answers, and the tool's own
`requestState` as it was given, begin the next round; each round is a call to all the other rules of the core.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from semel.core.call import Call, CallId, Record, Status, arguments_digest


class Obstacle(msgspec.Struct, frozen=True):
    """What keeps a round from beginning; `lasting` if no later entry of the log takes it away."""

    why: str
    lasting: bool


class _State(msgspec.Struct):
    given: Any = msgspec.field(name="requestState", default=None)


_decoder = msgspec.json.Decoder(_State)


def obstacle(call: Call, find: Callable[[CallId], Record | None]) -> Obstacle | None:
    """Return what keeps a call from beginning by what is known of its round before; None if nothing does.

    Nothing ever keeps a first round from that. One look at the archive: digests are compared, not arguments.
    """
    if call.id.round == 1:
        return None
    number = call.id.round - 1
    last = find(call.id.before)
    if last is None:
        return Obstacle(f"no round {number} of it is known, or it is forgotten", lasting=False)
    if not last.status.final:
        return Obstacle(f"round {number} has no outcome ({last.status})", lasting=False)
    why = _misfit(call, last)
    return None if why is None else Obstacle(why, lasting=True)


def _misfit(call: Call, last: Record) -> str | None:
    """Return why a round does not go on from the outcome of the one before it; None if it does."""
    number = last.id.round
    if last.forgotten:
        return f"round {number} ended so long ago that what it asked for is forgotten"
    if last.status is not Status.INPUT_REQUIRED:
        return f"round {number} asked for nothing, and ended the call ({last.status})"
    if arguments_digest(call.digest) != arguments_digest(last.digest):
        return f"round {number} is of another tool or other arguments"
    if call.answers is None or last.result is None or not _same_state(call.answers, last.result):
        return f"it does not bring the requestState that round {number} ended with"
    return None


def _same_state(answers: msgspec.Raw, result: msgspec.Raw) -> bool:
    """Return whether both have the same `requestState`, or neither has one; the rest of them does not matter."""
    try:
        return bool(_decoder.decode(answers).given == _decoder.decode(result).given)
    except msgspec.DecodeError:  # one of them is no object, and asks for nothing or answers nothing
        return False
