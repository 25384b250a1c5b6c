"""The call of a tool that wants its answer and nothing else, for which the SDK's client session does too much.

What the session does for such a one is little: it says in `_meta` who asks, and looks whether the answer is a result.
It does so with models, spans, streams and tasks that take longer than the rest of semel does for the call.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY

from semel.gateway.asker import Asker
from semel.gateway.tracing import traced

METHOD = "tools/call"

INFO = {"name": "semel", "version": version("semel")}
"""What semel calls itself to the servers behind it."""

_NAMES = {"name", "arguments", "_meta"}


def is_plain_request(method: str, params: Mapping[str, Any], asker: Asker) -> bool:
    """Return whether a request is such a call: whoever asks wants neither progress nor log lines, nor to be asked."""
    more = asker.progress or asker.log_level is not None or asker.can_be_asked
    return method == METHOD and params.keys() <= _NAMES and asker.modern and not more and not traced()


def enveloped(params: Mapping[str, Any], agreed: str, asker: Asker) -> dict[str, Any]:
    """Return the parameters with what a request of version `agreed`, 2026-07-28 or later, says of its client."""
    said = {
        **(params.get("_meta") or {}),
        PROTOCOL_VERSION_META_KEY: agreed,
        CLIENT_INFO_META_KEY: INFO,
        CLIENT_CAPABILITIES_META_KEY: dict(asker.capabilities),
    }
    return {**params, "_meta": said}
