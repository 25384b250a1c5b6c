"""Rounds of a call that no tool runs: what came of them is known as they begin, and only has to be in the log.

A client may answer a part of what a tool asks for; the next round then asks for the rest. Or it gives up a call that
waits for answers; the next round then is its end. Such a round brings its own outcome and is a read: any node logs
it, without an intent, and of two that begin at once the first in the log is the round.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from semel.core.call import Call, Status
from semel.node.tools import Done

_SETTLED = "dev.semel/settled"


class _Settled(msgspec.Struct, forbid_unknown_fields=True):
    status: Status
    result: msgspec.Raw


class _Answers(msgspec.Struct):
    settled: _Settled | None = msgspec.field(default=None, name=_SETTLED)


def settling(answers: Mapping[str, Any], status: Status, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answers of a round that comes to this outcome and is never run."""
    return {**answers, _SETTLED: {"status": str(status), "result": dict(result)}}


def settled(call: Call) -> Done | None:
    """Return what came of a round that is never run, None for all that are."""
    if call.answers is None or _SETTLED.encode() not in bytes(call.answers):
        return None
    said = msgspec.json.decode(call.answers, type=_Answers).settled
    return None if said is None else Done(said.status, said.result)
