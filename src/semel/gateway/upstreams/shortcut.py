"""A plain call of a stdio server's tool: straight onto its pipe and straight back, past the SDK's client session.

Of all requests, those that want nothing but their answer. What the session does for such a one is little: it says in
`_meta` who asks, and looks whether the answer is a result. It does so with models, spans, streams and tasks that take
longer than the rest of semel does for the call.
"""

from importlib.metadata import version
from typing import Any

from mcp import ClientSession, types
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types.methods import validate_server_result

from semel.gateway.asker import Asker
from semel.gateway.plainresult import is_plain
from semel.gateway.tracing import traced
from semel.gateway.upstreams.child import Child

METHOD = "tools/call"

INFO = {"name": "semel", "version": version("semel")}
"""What semel calls itself to the servers behind it."""

_NEWER = frozenset({"resultType", "inputRequests", "requestState"})
"""What a result of the handshake eras does not have, whatever a server says; the session drops it, too."""


def suits(asker: Asker) -> bool:
    """Return whether whoever asks wants nothing but the answer: neither progress, nor log lines, nor to be asked."""
    more = asker.progress or asker.log_level is not None or asker.can_be_asked
    return asker.modern and not more and not traced()


async def call(
    child: Child, session: ClientSession, params: types.CallToolRequestParams, asker: Asker
) -> dict[str, Any]:
    """Return the result of a call as the server gave it; `session` knows the version that was agreed upon.

    Raises:
        MCPError: the server answered with an error, or has gone.
        pydantic.ValidationError: what it answered is no result of a tool.
    """
    agreed = session.protocol_version
    assert agreed is not None
    modern = agreed in MODERN_PROTOCOL_VERSIONS
    sent = params.model_dump(by_alias=True, mode="json", exclude_none=True)
    if modern:
        sent["_meta"] = {
            **sent.get("_meta", {}),
            PROTOCOL_VERSION_META_KEY: agreed,
            CLIENT_INFO_META_KEY: INFO,
            CLIENT_CAPABILITIES_META_KEY: dict(asker.capabilities),
        }
    result = await child.request(METHOD, sent)
    if not is_plain(result) or ("resultType" in result) is not modern:
        validate_server_result(METHOD, agreed, result)
        if not modern:
            result = {name: value for name, value in result.items() if name not in _NEWER}
    return result
