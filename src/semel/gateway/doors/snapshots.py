"""Snapshots on their way: a node gives them over HTTP, and another, or a backup, fetches them.

Knows how a transfer goes on where it broke off and how it is checked; not what a snapshot holds.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx2
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from semel.errors import LogUnavailable, ReplicaError
from semel.node.snapshot import Shelf

PATH = "/v1/snapshot"
ATTEMPTS = 5
"""So often a transfer that breaks off is taken up again at one node, before the next is asked."""
PAUSE_S = 0.3
SILENCE_MAX_S = 30.0
"""A node makes the snapshot before its first byte; for millions of calls that takes a while."""
CONNECT_S = 2.0

Progress = Callable[[str, int, int], None]
"""Told of the node's URL, the bytes that are here, and the bytes of the whole."""


def snapshot_route(shelf: Shelf, commit: Callable[[], None]) -> Route:
    """Return the route that gives this node's snapshot; a range of it to those who have the rest.

    `commit` lets the replica's file hold all that the node has folded.
    """

    async def snapshot(request: Request) -> Response:
        if request.headers.get("origin") is not None:
            return JSONResponse({"error": "nodes and consoles only, no browsers"}, status_code=403)
        commit()
        try:
            newest = await shelf.newest()
        except ReplicaError as error:
            return JSONResponse({"error": str(error)}, status_code=503)
        return FileResponse(
            newest.path,
            media_type="application/vnd.sqlite3",
            headers={"etag": f'"{newest.digest}"', "x-semel-position": str(newest.totals.position)},
        )

    return Route(PATH, snapshot)


async def fetch_snapshot(urls: Sequence[str], into: Path, tell: Progress) -> None:
    """Fetch the snapshot of the first node that gives one whole into the new file `into`; its folder exists.

    Raises:
        LogUnavailable: no node gave one; ask again later. Its text says what each of them said.
        ReplicaError: there is no room for it here.
    """
    failures = []
    timeout = httpx2.Timeout(SILENCE_MAX_S, connect=CONNECT_S)
    async with httpx2.AsyncClient(timeout=timeout) as http:
        for url in urls:
            transfer = _Transfer(http, url, into, tell)
            for attempt in range(ATTEMPTS):
                try:
                    await transfer.go_on()
                except httpx2.TransportError as error:
                    failure = str(error) or type(error).__name__
                    await asyncio.sleep(PAUSE_S * attempt)
                except _Refused as error:
                    failure = str(error)
                    break
                except OSError as error:
                    raise ReplicaError(f"the snapshot cannot be written to {into}: {error.strerror}") from error
                else:
                    return
            failures.append(f"{url}: {failure}")
    raise LogUnavailable(f"no node gave its snapshot ({'; '.join(failures) or 'there is none to ask'})")


class _Refused(Exception):
    """The node gives none, or what came is not what it said."""


class _Transfer:
    """One node's snapshot, as far as it has come."""

    def __init__(self, http: httpx2.AsyncClient, url: str, into: Path, tell: Progress) -> None:
        self._http = http
        self._url = url
        self._into = into
        self._tell = tell
        self._mark = ""
        """What names the snapshot of which a part is here."""
        self._here_bytes = 0
        self._sum = hashlib.sha256()

    async def go_on(self) -> None:
        """Fetch what is missing; return once all is here and is what the node said."""
        rest = {"range": f"bytes={self._here_bytes}-", "if-range": self._mark} if self._here_bytes else {}
        async with self._http.stream("GET", f"{self._url}{PATH}", headers=rest) as response:
            if not response.is_success:
                body = (await response.aread()).decode(errors="replace")
                raise _Refused(f"HTTP status {response.status_code}: {' '.join(body.split())[:200]}")
            if response.status_code != 206:
                self._mark, self._here_bytes, self._sum = response.headers.get("etag", ""), 0, hashlib.sha256()
            whole_bytes = self._here_bytes + int(response.headers.get("content-length", 0))
            with self._into.open("r+b" if self._here_bytes else "wb") as file:
                file.truncate(self._here_bytes)
                file.seek(self._here_bytes)
                async for part in response.aiter_raw():
                    file.write(part)
                    self._sum.update(part)
                    self._here_bytes += len(part)
                    self._tell(self._url, self._here_bytes, whole_bytes)
        if self._mark != f'"{self._sum.hexdigest()}"':
            self._here_bytes = 0
            raise _Refused("what came is not what it said; its digest differs")
