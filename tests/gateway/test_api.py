"""The routes under /v1: linearizable reads, as of when they are, and the request to leave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from semel.core.call import CallId
from semel.errors import NoLeader, SemelError, Unconfirmed, UsageError
from semel.gateway.clients.client import connect
from semel.gateway.doors.api import api_routes
from semel.gateway.doors.asof import AsOf
from semel.gateway.doors.http import make_app, serve_http
from semel.gateway.doors.server import make_server
from semel.node.replica import Replica

from .fakes import FakeBackend

pytestmark = pytest.mark.anyio


class Node:
    """A node that can be looked at; `error` is what stands in the way of a linearizable read."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.position = 7
        self.log_age_s = 0.25
        self.error: SemelError | None = None
        self.reads = 0
        self.left: list[float | None] = []
        self.cancelled: list[CallId] = []

    def status(self) -> dict[str, Any]:
        return {"position": self.position}

    async def read_to_tail(self) -> int:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return self.position

    def commit(self) -> None:
        """All of it is in the file."""

    def cancel(self, call: CallId) -> None:
        self.cancelled.append(call)

    def leave(self, within_s: float | None) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        self.left.append(within_s)
        return {"node": "n1"}


@asynccontextmanager
async def serving(node: Node, folder: Path) -> AsyncIterator[str]:
    Replica(folder / "replica.db").close()
    backend = FakeBackend()

    async def peers(*_: object) -> None: ...

    app = make_app(make_server(backend), backend.readiness, routes=api_routes(node, folder / "replica.db", peers))
    async with serve_http(app, "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"


async def test_reads_say_as_of_when_they_are_and_wait_for_the_log_only_if_asked(tmp_path: Path) -> None:
    node, heard = Node(), list[AsOf]()
    async with serving(node, tmp_path) as url, connect(url) as client:
        assert await client.status() == {"position": 7, "linearizable": False}
        assert [call async for call in client.audit(tool="t", limit=3, as_of=heard.append)] == []
        assert (node.reads, heard) == (0, [AsOf(7, 0.25)])
        assert await client.status(linearizable=True) == {"position": 7, "linearizable": True}
        assert [call async for call in client.audit(linearizable=True)] == []
        assert node.reads == 2


async def test_a_read_that_cannot_be_linearizable_is_refused_with_the_reason_and_at_once(tmp_path: Path) -> None:
    node = Node()
    node.error = Unconfirmed("no quorum: 1 of 3 etcd members reachable. Ask again")
    async with serving(node, tmp_path) as url, connect(url, "http://127.0.0.1:9", timeout_s=1.0) as client:
        with pytest.raises(Unconfirmed, match="1 of 3"):
            await client.status(linearizable=True)
        with pytest.raises(Unconfirmed, match="1 of 3"):
            await anext(client.audit(linearizable=True))
        assert (await client.status())["position"] == 7
    async with serving(node, tmp_path) as url, httpx2.AsyncClient() as http, connect(url) as client:
        refused = await http.get(f"{url}/v1/status?linearizable=1")
        assert (refused.status_code, refused.json()["code"]) == (503, "unconfirmed")
        node.reads = 0
        with pytest.raises(Unconfirmed, match="1 of 3"):
            await client.status(linearizable=True)
        assert node.reads == 1


async def test_another_node_may_know_the_logs_end(tmp_path: Path) -> None:
    cut, well = Node(), Node()
    cut.error = Unconfirmed("cut off")
    async with serving(cut, tmp_path) as one, serving(well, tmp_path) as other, connect(one, other) as client:
        assert (await client.status(linearizable=True))["linearizable"]


@pytest.mark.parametrize("query", ["linearizable=perhaps", "nothing=1", "limit=x"])
async def test_a_request_that_makes_no_sense_is_told_so(tmp_path: Path, query: str) -> None:
    async with serving(Node(), tmp_path) as url, httpx2.AsyncClient() as http:
        answer = await http.get(f"{url}/v1/audit?{query}")
        assert (answer.status_code, list(answer.json())) == (400, ["error"])


async def test_a_node_is_asked_to_leave_with_a_time_limit_or_without(tmp_path: Path) -> None:
    node = Node()
    async with serving(node, tmp_path) as url, httpx2.AsyncClient() as http, connect(url) as client:
        answer = await http.post(f"{url}/v1/drain")
        assert (answer.status_code, answer.json()) == (202, {"node": "n1"})
        assert await client.post_json("/v1/drain", {"timeout": 2.5}) == {"node": "n1"}
        assert node.left == [None, 2.5]
        with pytest.raises(UsageError, match="timeout is a number of seconds, 0 or more, not '-1'"):
            await client.post_json("/v1/drain", {"timeout": -1})
        for wrong in ("inf", "nan", "soon"):
            assert (await http.post(f"{url}/v1/drain?timeout={wrong}")).status_code == 400
        assert (await http.get(f"{url}/v1/drain")).status_code == 405
        assert node.left == [None, 2.5]


async def test_no_web_page_may_ask_a_node_to_leave(tmp_path: Path) -> None:
    node = Node()
    async with serving(node, tmp_path) as url, httpx2.AsyncClient() as http:
        for origin in (url, "http://evil.example", "null"):
            assert (await http.post(f"{url}/v1/drain", headers={"origin": origin})).status_code == 403
    assert node.left == []


async def test_a_node_that_is_starting_is_asked_again(tmp_path: Path) -> None:
    node = Node()
    node.error = NoLeader("this node is starting")
    async with serving(node, tmp_path) as url, connect(url) as client:
        asking = asyncio.create_task(client.post_json("/v1/drain"))
        done, _ = await asyncio.wait([asking], timeout=0.2)
        assert not done
        node.error = None
        assert await asking == {"node": "n1"}


async def test_a_call_is_cancelled_by_its_key_and_caller_and_not_by_a_web_page(tmp_path: Path) -> None:
    node = Node()
    async with serving(node, tmp_path) as url, httpx2.AsyncClient() as http, connect(url, caller="ann") as client:
        await client.cancel("order 42/&é")
        await client.cancel("order-43", round=2)
        answer = await http.post(f"{url}/v1/cancel?key=k")
        assert (answer.status_code, answer.json()) == (202, {})
        for wrong in ("", "?key=", "?key=k&round=x", "?key=k&round=-1"):
            assert (await http.post(f"{url}/v1/cancel{wrong}")).status_code == 400
        assert (await http.get(f"{url}/v1/cancel?key=k")).status_code == 405
        for origin in (url, "http://evil.example", "null"):
            answer = await http.post(f"{url}/v1/cancel?key=k", headers={"origin": origin})
            assert answer.status_code == 403
    assert node.cancelled == [
        CallId("ann", "order 42/&é"),
        CallId("ann", "order-43", 2),
        CallId("anonymous", "k"),
    ]
