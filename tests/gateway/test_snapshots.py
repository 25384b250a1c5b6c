"""Snapshots over HTTP: whole ones, broken ones that are taken up again, wrong ones that are refused."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from semel.core.ledger import Totals
from semel.errors import LogUnavailable, ReplicaError
from semel.gateway.doors.http import serve_http
from semel.gateway.doors.snapshots import PATH, fetch_snapshot, snapshot_route
from semel.node.replica import Replica
from semel.node.snapshot import Shelf, Snapshot

pytestmark = pytest.mark.anyio

Told = list[tuple[str, int, int]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semel.gateway.doors.snapshots.PAUSE_S", 0.0)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    path = tmp_path / "peer" / "replica.db"
    path.parent.mkdir()
    with closing(Replica(path)) as replica:
        replica.commit(Totals(position=7, cluster_id="id"), "digest 7")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE ballast AS SELECT randomblob(1000000) AS it")
    return Shelf(path)


@asynccontextmanager
async def serving(*routes: BaseRoute) -> AsyncIterator[str]:
    async with serve_http(Starlette(routes=list(routes)), "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}"


def breaking(shelf: Shelf, after_bytes: int, *, wrong: bytes = b"") -> Route:
    """Return a route that breaks off after so many bytes the first time; `wrong` is what it says instead of them."""
    whole = snapshot_route(shelf, lambda: None)
    asked = []

    async def snapshot(request: Request) -> Response:
        asked.append(request)
        if len(asked) > 1:
            return await whole.endpoint(request)
        newest = await shelf.newest()
        data = newest.path.read_bytes()

        async def part() -> AsyncIterator[bytes]:
            yield wrong or data[:after_bytes]
            raise ConnectionError("cut")

        headers = {"etag": f'"{newest.digest}"', "content-length": str(len(data))}
        return StreamingResponse(part(), headers=headers)

    return Route(PATH, snapshot)


async def test_a_snapshot_arrives_whole_and_its_progress_is_told(shelf: Shelf, tmp_path: Path) -> None:
    told: Told = []
    async with serving(snapshot_route(shelf, lambda: None)) as url:
        await fetch_snapshot([url], tmp_path / "here.db", lambda *progress: told.append(progress))
    assert Snapshot.check(tmp_path / "here.db").totals.position == 7
    size_bytes = (tmp_path / "here.db").stat().st_size
    assert told[-1] == (url, size_bytes, size_bytes)


async def test_a_transfer_that_breaks_off_goes_on_where_it_was(shelf: Shelf, tmp_path: Path) -> None:
    told: Told = []
    async with serving(breaking(shelf, 300_000)) as url:
        await fetch_snapshot([url], tmp_path / "here.db", lambda *progress: told.append(progress))
    assert Snapshot.check(tmp_path / "here.db").digest == (await shelf.newest()).digest
    here = [here_bytes for _, here_bytes, _ in told]
    assert here == sorted(here)
    assert len({whole_bytes for _, _, whole_bytes in told}) == 1


async def test_a_transfer_whose_snapshot_has_been_replaced_begins_anew(shelf: Shelf, tmp_path: Path) -> None:
    async with serving(breaking(shelf, 300_000)) as url:
        old = (await shelf.newest()).digest
        with closing(sqlite3.connect(tmp_path / "peer" / "replica.db")) as connection, connection:
            connection.execute("CREATE TABLE more AS SELECT randomblob(5000) AS it")

        def replaced(_url: str, here_bytes: int, _whole_bytes: int) -> None:
            if here_bytes <= 300_000:
                shelf.clear()

        await fetch_snapshot([url], tmp_path / "here.db", replaced)
    assert Snapshot.check(tmp_path / "here.db").digest not in ("", old)


async def test_what_is_not_what_the_node_said_is_refused_and_the_next_is_asked(shelf: Shelf, tmp_path: Path) -> None:
    async with (
        serving(breaking(shelf, 0, wrong=b"x" * 300_000)) as bad,
        serving(snapshot_route(shelf, lambda: None)) as good,
        serving() as none,
    ):
        await fetch_snapshot([none, "http://127.0.0.1:1", bad, good], tmp_path / "here.db", lambda *_: None)
        assert Snapshot.check(tmp_path / "here.db").totals.position == 7
        with pytest.raises(LogUnavailable, match=r"404.*:1: "):
            await fetch_snapshot([none, "http://127.0.0.1:1"], tmp_path / "here.db", lambda *_: None)
        with pytest.raises(ReplicaError, match="cannot be written"):
            await fetch_snapshot([good], tmp_path / "no folder" / "here.db", lambda *_: None)


async def test_a_node_that_cannot_make_one_says_so_and_a_browser_gets_none(shelf: Shelf, tmp_path: Path) -> None:
    async with serving(snapshot_route(shelf, lambda: None)) as url, httpx2.AsyncClient() as http:
        assert (await http.get(f"{url}{PATH}", headers={"origin": "http://evil.example"})).status_code == 403
        (tmp_path / "peer" / "snapshots").write_text("in the way")
        refused = await http.get(f"{url}{PATH}")
        assert refused.status_code == 503
        assert "snapshots" in refused.json()["error"]
