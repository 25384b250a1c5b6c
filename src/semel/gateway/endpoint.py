"""One node's URL, as a client program sees it: MCP requests and plain GETs over one pool of HTTP connections.

The SDK's session makes the requests (2026-07-28, where each stands for itself) and checks the results; the transport
under it is this one and not the SDK's, since there a failed request takes all the others of its session with it.
"""

import itertools
import json
from collections.abc import Mapping
from typing import Any

import anyio.abc
import httpx2
from mcp import ClientSession, MCPError, types
from mcp.shared.dispatcher import CallOptions, OnNotify, OnNotifyIntercept, OnRequest
from mcp.types.version import LATEST_MODERN_VERSION
from pydantic import RootModel, ValidationError

from semel.errors import TooLarge, UsageError, by_code
from semel.gateway import meta


class Unreachable(Exception):
    """This URL gave no answer this time; another one, or another time, may."""


class NotConnected(Unreachable):
    """Nobody listens at this URL: nothing was sent."""


class NotANode(Exception):
    """What answers at this URL is no semel node; asking again will not help."""


class _AsItCame(RootModel[dict[str, Any]]):
    """A result as it came: the SDK checks its form, and fields that it does not know are kept."""


class Endpoint:
    """A node at a URL; its methods raise Unreachable, NotANode, or the errors of `semel.errors` that it answers."""

    def __init__(self, url: str, http: httpx2.AsyncClient) -> None:
        bare = url if "://" in url else f"http://{url}"
        self.url = bare.rstrip("/").removesuffix("/mcp")
        self._http = http
        self._session = ClientSession(dispatcher=_Posts(f"{self.url}/mcp", http))
        known = types.DiscoverResult(
            supported_versions=[LATEST_MODERN_VERSION], capabilities=types.ServerCapabilities(), ttl_ms=0
        )
        self._session.adopt(known)  # no handshake: a node speaks this version

    async def call(self, tool: str, arguments: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to a call as it came; `told` is the request's `_meta`."""
        named = {"name": tool, "arguments": arguments, "_meta": {**told, meta.ERRORS_AS_RESULTS: True}}
        request = types.CallToolRequest(params=types.CallToolRequestParams.model_validate(named))
        try:
            return await self._send(request)
        except MCPError as error:
            if error.code != types.HEADER_MISMATCH:
                raise _refusal(error) from error
        # The tool wants some arguments as headers too, which the session learns from the list.
        await self.list_tools()
        try:
            return await self._send(request)
        except MCPError as error:
            raise _refusal(error) from error

    async def instructions(self) -> str | None:
        """Return what the node's server says of itself to models, None if nothing."""
        try:
            said = (await self._send(types.DiscoverRequest())).get("instructions")
        except MCPError as error:
            raise _refusal(error) from error
        return None if said is None else str(said)

    async def list_tools(self) -> list[dict[str, Any]]:
        """Return the node's tools as they came."""
        try:
            await self._session.list_tools()
            return list((await self._send(types.ListToolsRequest()))["tools"])
        except MCPError as error:
            raise _refusal(error) from error

    async def get(self, path: str, parameters: Mapping[str, Any]) -> httpx2.Response:
        """Return the response to a GET, its body still to be read and the response to be closed."""
        return await self._request("GET", path, parameters)

    async def post(self, path: str, parameters: Mapping[str, Any]) -> httpx2.Response:
        """Return the response to a POST without a body, as `get` does."""
        return await self._request("POST", path, parameters)

    async def _request(self, method: str, path: str, parameters: Mapping[str, Any]) -> httpx2.Response:
        request = self._http.build_request(method, f"{self.url}{path}", params=dict(parameters))
        try:
            response = await self._http.send(request, stream=True)
            if response.is_success:
                return response
            body = await response.aread()
        except httpx2.TransportError as error:
            raise _unreachable(error) from error
        await response.aclose()
        raise _http_refusal(response.status_code, body)

    async def _send(self, request: types.ClientRequest) -> dict[str, Any]:
        try:
            result = (await self._session.send_request(request, _AsItCame)).root
        except ValidationError as error:
            raise NotANode(f"its answer is not of the form that MCP has: {error}") from error
        held = (result.get("_meta") or {}).get(meta.HELD)
        if isinstance(held, dict):  # a ticket, which is for clients that do not retry by themselves
            raise by_code(str(held.get("code")), str(held.get("message")))
        return result


class _Posts:
    """A `Dispatcher` of the SDK that sends each request as a POST of its own."""

    def __init__(self, url: str, http: httpx2.AsyncClient) -> None:
        self._url = url
        self._http = http
        self._ids = itertools.count(1)

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None
    ) -> dict[str, Any]:
        body = {"jsonrpc": "2.0", "id": next(self._ids), "method": method, "params": params or {}}
        headers = {"accept": "application/json, text/event-stream", **(opts or {}).get("headers", {})}
        try:
            async with self._http.stream("POST", self._url, json=body, headers=headers) as response:
                message = await _message(response)
        except httpx2.TransportError as error:
            raise _unreachable(error) from error
        if "error" in message:
            error_data = types.ErrorData.model_validate(message["error"])
            raise MCPError.from_error_data(error_data)
        result: dict[str, Any] = message["result"]
        return result

    async def notify(self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None) -> None:
        """Send nothing: this version of the protocol has no notifications to a server."""

    async def run(
        self,
        on_request: OnRequest,
        on_notify: OnNotify,
        on_notify_intercept: OnNotifyIntercept | None = None,
        *,
        task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
    ) -> None:
        """Receive nothing: a node sends no requests."""


async def _message(response: httpx2.Response) -> dict[str, Any]:
    """Return the JSON-RPC response in a response of HTTP, be it plain or at the end of a stream of events."""
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        async for event in httpx2.EventSource(response, max_event_size=None):
            message = _parsed(event.data.encode())
            if message is not None:
                return message
        raise Unreachable("it broke off its answer")
    body = await response.aread()
    message = _parsed(body)
    if message is None:
        raise _http_refusal(response.status_code, body)
    return message


def _parsed(body: bytes) -> dict[str, Any] | None:
    """Return `body` as a JSON-RPC response, None if it is something else."""
    try:
        message = json.loads(body)
    except ValueError:
        return None
    is_response = isinstance(message, dict) and message.get("jsonrpc") == "2.0" and message.keys() & {"result", "error"}
    return message if is_response else None


def _refusal(error: MCPError) -> Exception:
    """Return what a JSON-RPC error means: one of our own errors, or that no semel node answers there."""
    data = error.data if isinstance(error.data, dict) else {}
    if data.get("source") == "semel":
        return by_code(str(data.get("code")), error.message)
    if error.code == types.INTERNAL_ERROR:
        return Unreachable(f"it failed: {error.message}")
    return NotANode(f"it answered: {error.message} (protocol error {error.code})")


def _http_refusal(status: int, body: bytes) -> Exception:
    """Return what an HTTP error means; our own routes say what was wrong with a request as {"error": text}."""
    try:
        told = json.loads(body)
    except ValueError:
        told = None
    if status == 400 and isinstance(told, dict) and isinstance(told.get("error"), str):
        return UsageError(told["error"])
    if isinstance(told, dict) and told.get("source") == "semel":
        return by_code(str(told.get("code")), str(told.get("error")))
    if status == 413:
        return TooLarge("the request is larger than a node reads: store the data elsewhere. Nothing was run")
    said = " ".join(body.decode(errors="replace").split())[:200]
    if status >= 500:
        return Unreachable(f"HTTP status {status}: {said}")
    return NotANode(f"HTTP status {status}: {said}")


def _unreachable(error: httpx2.TransportError) -> Unreachable:
    kind = NotConnected if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout) else Unreachable
    return kind(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)
