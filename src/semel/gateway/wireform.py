"""The result of a `tools/call` of 2026-07-28, from what a handler gave to what the SDK would put on the wire."""

import logging
from collections.abc import Mapping
from typing import Any, TypeGuard

from mcp import MCPError, types
from mcp_types import methods
from mcp_types.version import LATEST_MODERN_VERSION as VERSION
from pydantic import BaseModel, ValidationError

from semel.gateway.plainresult import is_plain

_log = logging.getLogger(__name__)

_METHOD = "tools/call"

_PROTOCOL = "io.modelcontextprotocol/"


def on_the_wire(result: Any, stamp: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a handler gave as the SDK shapes it: fields that the version does not know are dropped.

    `stamp` says which server answers.

    Raises:
        MCPError: it is no result.
    """
    shaped = result if _is_shaped(result) else _sieved(result)
    said = shaped.get("_meta")
    if said is None:
        said = {}
    if not isinstance(said, dict) or said.get(types.SERVER_INFO_META_KEY) is not None:
        return shaped
    return {**shaped, "_meta": {**said, types.SERVER_INFO_META_KEY: stamp}}


def _is_shaped(result: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether the SDK's serializer would leave a result as it is."""
    if not is_plain(result) or "resultType" not in result:
        return False
    said = result.get("_meta", {})
    return None not in said.values() and _PROTOCOL not in "\n".join(said)  # the names looked through at once


def _sieved(result: Any) -> dict[str, Any]:
    """Return a result as the SDK's own serializer shapes it."""
    dumped = as_dict(result)
    if isinstance(result, BaseModel) and _is_shaped(dumped):
        return dumped
    kind = dumped.get("resultType")
    if not isinstance(kind, str) or kind in types.CORE_RESULT_TYPES:
        try:
            dumped = methods.serialize_server_result(_METHOD, VERSION, dumped)
        except ValidationError:
            _log.exception("the handler of %s gave what is no result", _METHOD)
            raise MCPError(types.INTERNAL_ERROR, "Handler returned an invalid result") from None
    return dumped if dumped.get("resultType") is not None else {**dumped, "resultType": "complete"}


def as_dict(result: Any) -> dict[str, Any]:
    """Return what a handler or a middleware gave as JSON's objects are in Python.

    Raises:
        MCPError: it gave an error.
        TypeError: it may not give such a thing.
    """
    if result is None:
        return {}
    if isinstance(result, types.ErrorData):
        raise MCPError.from_error_data(result)
    if isinstance(result, BaseModel):
        return result.model_dump(by_alias=True, mode="json", exclude_none=True)
    if isinstance(result, dict):
        return result
    raise TypeError(f"handler returned {type(result).__name__}; expected BaseModel, dict, or None")
