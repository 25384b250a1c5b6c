"""One node's URL, as a client program sees it: MCP requests and plain GETs over one pool of HTTP connections.

The SDK's session makes the requests (2026-07-28, where each stands for itself) and checks the results; the transport
under it is this one and not the SDK's, since there a failed request takes all the others of its session with it.
"""

import itertools
import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import anyio.abc
import httpx2
from mcp import ClientSession, MCPError, types
from mcp.shared.dispatcher import CallOptions, OnNotify, OnNotifyIntercept, OnRequest
from mcp.shared.inbound import MCP_NAME_HEADER, encode_header_value
from mcp.types.version import LATEST_MODERN_VERSION
from mcp_types import CLIENT_CAPABILITIES_META_KEY
from pydantic import RootModel, ValidationError

from semel.errors import TooLarge, UsageError, by_code
from semel.gateway import meta

SILENCE_S = 25.0
"""How long a node that is alive may say nothing on a stream; it gives a sign of life every fifteen seconds."""

Heard = Callable[[str, dict[str, Any]], None]
"""Takes a notification: its method and its parameters, as MCP has them."""


class Unreachable(Exception):
    """This URL gave no answer this time; another one, or another time, may."""


class NotConnected(Unreachable):
    """Nobody listens at this URL: nothing was sent."""


class NotANode(Exception):
    """What answers at this URL is no semel node; asking again will not help."""


class _AsItCame(RootModel[dict[str, Any]]):
    """A result as it came: the SDK checks its form, and fields that it does not know are kept."""


class _Any(types.Request[dict[str, Any], str]):
    """A request as it is given: what its version of MCP does not know goes along."""


def _unheard(_method: str, _params: dict[str, Any]) -> None:
    """Take a notification that nobody asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What a request says of its client beside its parameters, and who hears what comes before the answer.

    `capabilities` are the client's, as MCP's ClientCapabilities has them. A node that says nothing at all for
    `silence_s` counts as gone.
    """

    capabilities: Mapping[str, Any] = field(default_factory=dict)
    heard: Heard = _unheard
    silence_s: float | None = None


_EXCHANGE: ContextVar[Exchange] = ContextVar("semel_exchange")
"""Of the request that is sent in this context: the SDK's session has no place for it."""


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

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        said: Mapping[str, Any],
        exchange: Exchange,
        following: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Return the answer to a call as it came.

        `said` is the request's `_meta`; `following` is what goes on with a call that asked for something:
        `requestState` and `inputResponses`.
        """
        params = {"name": tool, "arguments": arguments, **following, "_meta": {**said, meta.ERRORS_AS_RESULTS: True}}
        try:
            return await self._send("tools/call", params, exchange)
        except MCPError as error:
            if error.code != types.HEADER_MISMATCH:
                raise _refusal(error) from error
        # The tool wants some arguments as headers too, which the session learns from the list.
        await self.list_tools()
        try:
            return await self._send("tools/call", params, exchange)
        except MCPError as error:
            raise _refusal(error) from error

    async def request(self, method: str, params: Mapping[str, Any], exchange: Exchange) -> dict[str, Any]:
        """Return the answer to a request that is no call, as it came.

        Raises:
            MCPError: the answer is an error, and not one of semel's.
        """
        try:
            return await self._send(method, params, exchange)
        except MCPError as error:
            if _is_ours(error):
                raise _refusal(error) from error
            raise

    async def discover(self) -> dict[str, Any]:
        """Return what the node says of itself: MCP's DiscoverResult."""
        try:
            return await self._send("server/discover", {}, Exchange())
        except MCPError as error:
            raise _refusal(error) from error

    async def list_tools(self) -> list[dict[str, Any]]:
        """Return the node's tools as they came."""
        token = _EXCHANGE.set(Exchange())
        try:
            await self._session.list_tools()
            return list((await self._send("tools/list", {}, Exchange()))["tools"])
        except MCPError as error:
            raise _refusal(error) from error
        finally:
            _EXCHANGE.reset(token)

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

    async def _send(self, method: str, params: Mapping[str, Any], exchange: Exchange) -> dict[str, Any]:
        token = _EXCHANGE.set(exchange)
        try:
            request = _Any(method=method, params=dict(params))
            result = (await self._session.send_request(request, _AsItCame)).root
        except ValidationError as error:
            raise NotANode(f"its answer is not of the form that MCP has: {error}") from error
        finally:
            _EXCHANGE.reset(token)
        said = result.get("_meta") or {}
        if meta.TASK_GIVEN in said:
            task: dict[str, Any] = said[meta.TASK_GIVEN]
            return task
        held = said.get(meta.HELD)
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
        exchange, number = _EXCHANGE.get(), next(self._ids)
        sent = _stamped(params or {}, exchange, number)
        body = {"jsonrpc": "2.0", "id": number, "method": method, "params": sent}
        headers = {"accept": "application/json, text/event-stream", **(opts or {}).get("headers", {})}
        if method.startswith("tasks/") and isinstance(task_id := sent.get("taskId"), str):
            headers[MCP_NAME_HEADER] = encode_header_value(task_id)
        timeout = httpx2.Timeout(None, read=exchange.silence_s)
        try:
            async with self._http.stream("POST", self._url, json=body, headers=headers, timeout=timeout) as response:
                message = await _message(response, exchange.heard)
        except httpx2.TransportError as error:
            raise _unreachable(error) from error
        if "error" in message:
            error_data = types.ErrorData.model_validate(message["error"])
            raise MCPError.from_error_data(error_data)
        result: dict[str, Any] = message["result"]
        if result.get("resultType") == "task":
            return {"content": [], "resultType": "complete", "_meta": {meta.TASK_GIVEN: result}}
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


def _stamped(params: Mapping[str, Any], exchange: Exchange, number: int) -> dict[str, Any]:
    """Return parameters with the capabilities of the client, and a token for its progress if that is asked for."""
    said = {**params.get("_meta", {}), CLIENT_CAPABILITIES_META_KEY: dict(exchange.capabilities)}
    if "progressToken" in said:
        said["progressToken"] = number
    return {**params, "_meta": said}


async def _message(response: httpx2.Response, heard: Heard) -> dict[str, Any]:
    """Return the JSON-RPC response in a response of HTTP, be it plain or at the end of a stream of events."""
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        async for event in httpx2.EventSource(response, max_event_size=None):
            message = _parsed(event.data.encode())
            if message is None:
                continue
            if "method" not in message:
                return message
            heard(str(message["method"]), message.get("params") or {})
        raise Unreachable("it broke off its answer")
    body = await response.aread()
    message = _parsed(body)
    if message is None or "method" in message:
        raise _http_refusal(response.status_code, body)
    return message


def _parsed(body: bytes) -> dict[str, Any] | None:
    """Return `body` as a JSON-RPC response or notification, None if it is something else."""
    try:
        message = json.loads(body)
    except ValueError:
        return None
    is_message = isinstance(message, dict) and message.get("jsonrpc") == "2.0"
    return message if is_message and message.keys() & {"result", "error", "method"} else None


def _is_ours(error: MCPError) -> bool:
    return isinstance(error.data, dict) and error.data.get("source") == "semel"


def _refusal(error: MCPError) -> Exception:
    """Return what a JSON-RPC error means: one of our own errors, an answer, or that no semel node answers there."""
    if _is_ours(error):
        return by_code(str(error.data.get("code")), error.message)
    never_a_task = isinstance(error.data, dict) and meta.TASK in error.data
    if error.code == types.MISSING_REQUIRED_CLIENT_CAPABILITY or never_a_task:
        return error  # the caller's to know: no other node says anything else
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
