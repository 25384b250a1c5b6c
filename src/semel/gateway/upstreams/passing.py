"""What is asked of the servers and is no call of a tool: lists, resources, prompts, completions.

Nothing of it is logged: it changes nothing, and each node asks its own servers. Of one server everything passes as it
is; of several, lists are put one after the other, prompts are named as tools are, and a resource is looked for.
"""

import asyncio
import base64
import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec
from mcp import MCPError, types
from pydantic import ValidationError

from semel.gateway.asker import Asker
from semel.gateway.upstreams.fleet import Fleet
from semel.gateway.upstreams.polling import ConnectionGone
from semel.gateway.upstreams.sending import read
from semel.gateway.upstreams.upstream import Dismissed, Upstream

TIMEOUT_S = 60.0
"""How long an answer may take; the default time limit of a tool."""

_LISTS = {"resources/list": "resources", "resources/templates/list": "resourceTemplates", "prompts/list": "prompts"}
"""The lists, and where in their results the items are."""

_FOUND_MAX = 10_000
"""Of so many resources it is remembered which server has them."""

_RESOURCE_NOT_FOUND = -32002
"""The code of the handshake eras; 2026-07-28 has INVALID_PARAMS for it."""


class Passing:
    """The way through to the servers of a fleet; lives in the tools' own loop."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._found: OrderedDict[str, str] = OrderedDict()
        """Which server has a resource, by its URI."""

    async def ask(self, method: str, params: Mapping[str, Any], asker: Asker) -> dict[str, Any]:
        """Return the result of a request, as its server gave it.

        Raises:
            MCPError: the server, or this node in its place, answers with an error.
        """
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self._ask(method, {**params, "_meta": dict(asker.meta)}, asker)
        except TimeoutError:
            raise MCPError(types.REQUEST_TIMEOUT, f"{method}: its server did not answer in {TIMEOUT_S:g} s") from None
        except (ConnectionGone, Dismissed) as error:
            raise MCPError(types.INTERNAL_ERROR, f"{method}: {error or 'its server is not served any more'}") from error
        except ValidationError as error:
            raise MCPError(types.INTERNAL_ERROR, f"{method}: what its server answered is no result of it") from error

    async def _ask(self, method: str, params: dict[str, Any], asker: Asker) -> dict[str, Any]:
        match method:
            case "resources/list" | "resources/templates/list" | "prompts/list":
                return await self._list(method, params, asker)
            case "resources/read":
                return await self._at_resource(method, str(params["uri"]), params, asker)
            case "prompts/get":
                upstream, name = self._prompt(str(params["name"]))
                return await read(upstream, method, {**params, "name": name}, asker)
            case "completion/complete":
                ref = params["ref"]
                if ref.get("type") == "ref/prompt":
                    upstream, name = self._prompt(str(ref["name"]))
                    return await read(upstream, method, {**params, "ref": {**ref, "name": name}}, asker)
                return await self._at_resource(method, str(ref["uri"]), params, asker)
            case _:
                raise MCPError(types.METHOD_NOT_FOUND, "Method not found", method)

    async def _list(self, method: str, params: dict[str, Any], asker: Asker) -> dict[str, Any]:
        """Return a page of a list; of several servers, those that have such a list come one after the other.

        A page ends where a server's own page says that there are more, or before a server that is in trouble. Many
        clients never ask for a second one.
        """
        servers = {name: each for name, each in self._fleet.upstreams.items() if _offers(each, method)}
        if not servers:
            raise MCPError(types.METHOD_NOT_FOUND, "Method not found", method)
        name, cursor = self._place(servers, params.get("cursor"))
        own = {key: value for key, value in params.items() if key != "cursor"}
        page = await self._page(name, method, own if cursor is None else {**own, "cursor": cursor}, asker)
        if not self._fleet.several:
            return page
        rest = list(servers)[list(servers).index(name) + 1 :]
        while rest and not page.get("nextCursor") and servers[rest[0]].trouble is None:
            try:
                more = await self._page(rest[0], method, own, asker)
            except (MCPError, ConnectionGone, Dismissed):
                break  # who asks for the next page is told
            page, name = _joined(page, more, _LISTS[method]), rest.pop(0)
        following = (name, page["nextCursor"]) if page.get("nextCursor") else (rest[0], None) if rest else None
        page = {key: value for key, value in page.items() if key != "nextCursor"}
        return page if following is None else {**page, "nextCursor": _cursor(*following)}

    async def _page(self, server: str, method: str, params: dict[str, Any], asker: Asker) -> dict[str, Any]:
        """Return a page of one server's list, with the names that its items have here."""
        page = await read(self._fleet.upstreams[server], method, params, asker)
        items = page.get(_LISTS[method], ())
        for item in items:
            if "uri" in item:
                self._remember(str(item["uri"]), server)
        if method == "prompts/list" and self._fleet.several:
            return {**page, "prompts": [{**each, "name": f"{server}_{each['name']}"} for each in items]}
        return page

    def _place(self, servers: Mapping[str, Upstream], cursor: str | None) -> tuple[str, str | None]:
        """Return which server's list goes on, and its own cursor."""
        if cursor is None:
            return next(iter(servers)), None
        if not self._fleet.several:
            return next(iter(servers)), cursor
        try:
            name, own = msgspec.json.decode(base64.urlsafe_b64decode(cursor), type=tuple[str, str | None])
        except (ValueError, RecursionError):  # no base64, no JSON, or other JSON
            name, own = "", None
        if name not in servers:
            raise MCPError(types.INVALID_PARAMS, "the cursor is none of this list's: begin it anew, without a cursor")
        return name, own

    async def _at_resource(self, method: str, uri: str, params: dict[str, Any], asker: Asker) -> dict[str, Any]:
        """Ask the server that has a resource; if that is not known, one after the other until one has it."""
        servers = {name: each for name, each in self._fleet.upstreams.items() if _offers(each, method)}
        if not servers:
            raise MCPError(types.METHOD_NOT_FOUND, "Method not found", method)
        known = self._found.get(uri)
        order = sorted(servers, key=lambda name: name != known)
        for name in order:
            try:
                result = await read(servers[name], method, params, asker)
            except MCPError as error:
                if name == order[-1] or error.code not in (_RESOURCE_NOT_FOUND, types.INVALID_PARAMS):
                    raise
            else:
                self._remember(uri, name)
                return result
        raise AssertionError("unreachable")

    def _prompt(self, name: str) -> tuple[Upstream, str]:
        """Return the server of a prompt, and the name that it has there."""
        for server, upstream in self._fleet.upstreams.items():
            if not self._fleet.several:
                return upstream, name
            if name.startswith(f"{server}_"):
                return upstream, name.removeprefix(f"{server}_")
        raise MCPError(
            types.INVALID_PARAMS, f"there is no prompt {name[:100]!r} here: prompts/list shows those there are"
        )

    def _remember(self, uri: str, server: str) -> None:
        self._found[uri] = server
        self._found.move_to_end(uri)
        if len(self._found) > _FOUND_MAX:
            self._found.popitem(last=False)


def _offers(upstream: Upstream, method: str) -> bool:
    offers = upstream.offers
    match method.split("/")[0]:
        case "resources":
            return offers.resources is not None
        case "prompts":
            return offers.prompts is not None
        case _:
            return offers.completions is not None


def _joined(page: Mapping[str, Any], more: Mapping[str, Any], items: str) -> dict[str, Any]:
    """Return two servers' pages as one, which is no single server's, and may be kept as long as either of them may."""
    joined = {**page, items: [*page.get(items, ()), *more.get(items, ())], "nextCursor": more.get("nextCursor")}
    for name in ("_meta", "ttlMs", "cacheScope"):
        joined.pop(name, None)
    if "ttlMs" in page and "ttlMs" in more:
        joined["ttlMs"] = min(page["ttlMs"], more["ttlMs"])
    if page.get("cacheScope") == more.get("cacheScope") == "public":
        joined["cacheScope"] = "public"
    return joined


def _cursor(server: str, own: str | None) -> str:
    return base64.urlsafe_b64encode(json.dumps([server, own]).encode()).decode()
