"""CallToolResults as they are kept in the log: what a tool gave, or what semel says in its place."""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from semel.core.call import Status, is_plain_json
from semel.core.limits import Limits
from semel.gateway import meta
from semel.node.tools import Done

_ENVELOPE = "io.modelcontextprotocol/serverInfo"
"""Says which server answered; every server stamps its own, and so does the node's."""

_OURS = (_ENVELOPE, meta.SOURCE, meta.PROTOCOL_ERROR)
"""What a tool's own result does not get to say."""


def failed(text: str, status: Status = Status.ERROR, *, error: dict[str, Any] | None = None) -> Done:
    """Return the end of a run that gave no result of its own: `text` says what happened.

    `error` is that of JSON-RPC that the tool's server gave in the place of a result, if it gave one.
    """
    said = {} if error is None else {"_meta": {meta.PROTOCOL_ERROR: error}}
    return Done(status, _encoded({**_failure(text), **said}, odd="replace"))


def not_begun(text: str, status: Status = Status.ERROR) -> Done:
    """Return the end of a run that never reached its tool: `text` says why, and is semel's word alone."""
    return Done(status, _encoded({**_failure(text), "_meta": {meta.SOURCE: "semel"}}, odd="replace"))


def _failure(text: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": text}], "isError": True}


def described(error: BaseException) -> str:
    """Return the kind and the text of what a tool raised, whose own methods may raise as well."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return f"{type(error).__name__}, which cannot even say what it is"


def ended(tool: str, result: dict[str, Any], limits: Limits) -> Done:
    """Return the end of a run that gave `result`; it is kept as it came, without the connection's envelope."""
    kind = result.get("resultType", "complete")
    if kind not in ("complete", "input_required"):
        return failed(f"{tool} answered with a result of another kind ({kind}), which semel cannot pass on")
    is_error = result.get("isError") is True
    try:
        encoded = _encoded(_without_envelope(result), odd="replace" if is_error else "strict")
    except (TypeError, ValueError, RecursionError) as error:
        return failed(f"{tool} ran, and what it returned is not JSON: {error}")
    if len(encoded) > limits.result_bytes_max:
        return failed(
            f"{tool} ran, and its result is {len(encoded):,} bytes of JSON, more than the {limits.result_bytes_max:,} "
            "that can be kept: let it store the data elsewhere and return its name"
        )
    status = Status.INPUT_REQUIRED if kind == "input_required" else Status.ERROR if is_error else Status.OK
    return Done(status, encoded)


def _without_envelope(result: Mapping[str, Any]) -> dict[str, Any]:
    bare = {name: value for name, value in result.items() if name not in ("resultType", "_meta")}
    said = {name: value for name, value in (result.get("_meta") or {}).items() if name not in _OURS}
    return {**bare, "_meta": said} if said else bare


def _encoded(value: dict[str, Any], *, odd: str) -> msgspec.Raw:
    """Return `value` as JSON; `odd` says what becomes of half characters (surrogates), which UTF-8 does not have.

    The text of an error may have some, where it names a file for one, and is told with a ? in their place.
    """
    if is_plain_json(value):
        with contextlib.suppress(UnicodeEncodeError):
            return msgspec.Raw(msgspec.json.encode(value))
    return msgspec.Raw(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode(errors=odd))
