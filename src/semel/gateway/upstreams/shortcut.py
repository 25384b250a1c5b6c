"""A plain call of a stdio server's tool: straight onto its pipe and straight back, past the SDK's client session."""

from collections.abc import Mapping
from typing import Any

from mcp import ClientSession
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from mcp_types.methods import validate_server_result

from semel.gateway.asker import Asker
from semel.gateway.plainresult import is_plain
from semel.gateway.upstreams.child import Child
from semel.gateway.upstreams.plainrequest import METHOD, enveloped

_NEWER = frozenset({"resultType", "inputRequests", "requestState"})
"""What a result of the handshake eras does not have, whatever a server says; the session drops it, too."""


class Shortcut:
    """The short way to a stdio server; `session` knows the version that was agreed upon."""

    def __init__(self, child: Child, session: ClientSession) -> None:
        self._child = child
        self._session = session

    async def call(self, params: Mapping[str, Any], asker: Asker) -> dict[str, Any]:
        """Return the result of a plain call as the server gave it, or a task in its place.

        Raises:
            MCPError: the server answered with an error, or has gone.
            pydantic.ValidationError: what it answered is no result of a tool.
        """
        agreed = self._session.protocol_version
        assert agreed is not None
        modern = agreed in MODERN_PROTOCOL_VERSIONS
        result = await self._child.request(METHOD, enveloped(params, agreed, asker) if modern else params)
        if not is_plain(result) or ("resultType" in result) is not modern:
            if modern and result.get("resultType") == "task":
                return result
            validate_server_result(METHOD, agreed, result)
            if not modern:
                result = {name: value for name, value in result.items() if name not in _NEWER}
        return result
