"""CallToolResults as they are kept in the log: what a tool gave, or what semel says in its place."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
from mcp.types import ErrorData

from semel.core.call import Status, encode_payload
from semel.core.limits import Limits
from semel.gateway import meta
from semel.node.tools import Done

_ENVELOPE = "io.modelcontextprotocol/serverInfo"
"""Says which server answered; every server stamps its own, and so does the node's."""

_OURS = (_ENVELOPE, meta.SOURCE, meta.PROTOCOL_ERROR)
"""What a tool's own result does not get to say."""


def failed(text: str, status: Status = Status.ERROR) -> Done:
    """Return the end of a run that gave no result of its own: `text` says what happened."""
    return Done(status, _said(_failure(text)))


def refused(text: str, error: ErrorData) -> Done:
    """Return the end of a run whose server gave an error of JSON-RPC in the place of a result; `text` says which.

    The error is kept, but for data that is not JSON or nested too deeply.
    """
    with suppress(ValueError, RecursionError):
        return _refused(text, error.model_dump(mode="json", exclude_none=True))
    return _refused(text, {"code": error.code, "message": error.message})


def _refused(text: str, error: dict[str, Any]) -> Done:
    return Done(Status.ERROR, _said({**_failure(text), "_meta": {meta.PROTOCOL_ERROR: error}}))


def not_begun(text: str, status: Status = Status.ERROR) -> Done:
    """Return the end of a run that never reached its tool: `text` says why, and is semel's word alone."""
    return Done(status, _said({**_failure(text), "_meta": {meta.SOURCE: "semel"}}))


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
        encoded = encode_payload(_without_envelope(result), odd="replace" if is_error else "strict")
    except (TypeError, ValueError, RecursionError) as error:
        return failed(f"{tool} ran, and what it returned is not JSON: {error}")
    if len(encoded) > limits.result_bytes_max:
        return failed(
            f"{tool} ran, and its result is {len(encoded):,} bytes of JSON, more than the {limits.result_bytes_max:,} "
            "that can be kept: let it store the data elsewhere and return its name"
        )
    status = Status.INPUT_REQUIRED if kind == "input_required" else Status.ERROR if is_error else Status.OK
    return Done(status, msgspec.Raw(encoded))


def _without_envelope(result: Mapping[str, Any]) -> dict[str, Any]:
    bare = {name: value for name, value in result.items() if name not in ("resultType", "_meta")}
    said = {name: value for name, value in (result.get("_meta") or {}).items() if name not in _OURS}
    return {**bare, "_meta": said} if said else bare


def _said(value: dict[str, Any]) -> msgspec.Raw:
    """Return what is said of a failure: its text may have half characters, where it names a file for one."""
    return msgspec.Raw(encode_payload(value, odd="replace"))
