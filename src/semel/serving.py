"""Where the parts meet: a node with its log, replica, tools, peers and doors, from start to stop.

Decides nothing that a part decides; knows in which order they come up and go down.
"""

import asyncio
import hashlib
import itertools
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from platformdirs import user_data_path

from semel.core.call import NodeId
from semel.core.decider import Identity
from semel.core.limits import Limits
from semel.errors import ListenError, LogUnavailable, NoLeader, SemelError, UsageError
from semel.gateway.clients.client import Answer, answer_of
from semel.gateway.doors.announcing import Announcer
from semel.gateway.doors.api import api_routes
from semel.gateway.doors.http import make_app, serve_http
from semel.gateway.doors.server import ANONYMOUS, KEYS_OF_CLIENTS, make_server
from semel.gateway.doors.sessions import Sessions
from semel.gateway.doors.snapshots import fetch_snapshot, snapshot_route
from semel.gateway.doors.stdio import Wire, serve_stdio
from semel.gateway.doors.tasks import Tasks
from semel.gateway.loopthread import LoopThread
from semel.gateway.upstreams.target import Target, load_target, split_target
from semel.gateway.upstreams.toolbox import McpToolbox
from semel.log.engines import hosts_of, open_log
from semel.log.protocol import Log
from semel.node.departure import Departure
from semel.node.facade import Facade
from semel.node.peers import MESSAGE_BYTES_MAX
from semel.node.place import take_place
from semel.node.replica import Replica
from semel.node.runtime import Runtime
from semel.node.snapshot import Shelf
from semel.node.whereabouts import machine_name, refuse_namesake, unreachable, url_for_peers

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8420
DRAIN_S = 10.0
"""How long running tools may take to end when the node is told to go; supervisors wait at least as long."""
OPENINGS_MAX = 10
OPEN_AGAIN_S = 0.5
"""A log that is held or full at the start is tried so often, a second and a half apart; then somebody has to look."""
PORTS_TRIED = 100
"""Without an address to listen on, the first free port of so many from 8420 on is taken."""

logger = logging.getLogger("semel")


def default_log(target: str) -> str:
    """Return the URL of the embedded log for a target, in the target's folder of the user's data directory."""
    return f"sqlite://{default_folder(target)}/log.db"


def default_folder(target: str) -> Path:
    """Return the folder for what semel keeps for a target: one a target, in the user's data directory."""
    file, object_name = split_target(target)
    path = Path(file).expanduser().resolve()
    digest = hashlib.sha256(f"{path}:{object_name or ''}".encode()).hexdigest()[:8]
    return user_data_path("semel") / f"{path.stem}-{digest}"


class Node:
    """One node of a cluster: serves a target's tools, each call once.

    Args:
        target: `server.py`, `server.py:object` or `mcp.json`, as for `semel serve`; or an object to serve, which is an
            MCP server of the SDK or of FastMCP, a function marked with `@semel.tool`, or a list of such functions.
        log: the log's URL; the default is an embedded one in the user's data directory.
        name: the node's name; the default is node-1, or the next that is free on this machine. On a log that other
            machines can share it is this machine's name.
        listen: `HOST:PORT`; port 0 takes any free one. The default is the first free port from 8420 on, on loopback.
        advertise: the URL at which other nodes reach this one, if not where it listens: behind a proxy, in a container.
            The default for 0.0.0.0 and [::] is this machine's name, or loopback if the log is of this machine alone.
        cluster: the name of the cluster that the log belongs to, or is founded as.
        data: the folder for replicas; the default is beside the log.
        keys: further names in a request's `_meta` that may hold its idempotency key.
        require_key: refuse an MCP client's call of a once tool that brings no key, instead of making one for it.
        limits: what the node takes on and how long it waits.
        drain_s: how long running tools may take to end when the node is told to go.
        tools_loop: makes the event loop of the thread that the tools run in.

    `start` it, give it calls, `stop` it; or use it as an async context manager.
    """

    def __init__(
        self,
        target: str | Path | object,
        *,
        log: str | None = None,
        name: str | None = None,
        listen: str | None = None,
        advertise: str | None = None,
        cluster: str = "semel",
        data: Path | None = None,
        keys: Sequence[str] = (),
        require_key: bool = False,
        limits: Limits | None = None,
        drain_s: float = DRAIN_S,
        tools_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        named = isinstance(target, str | Path)
        if log is None and not named:
            raise UsageError("a node that serves objects needs a log: name one, such as log='sqlite:///srv/log.db'")
        self.log_url = log if log is not None else default_log(str(target))
        self.name = name or ""
        self.url = ""
        self.failed: asyncio.Future[SemelError] | None = None
        """Once started: done when the node cannot go on, with the reason."""
        self.departure = Departure(drain_s)
        """Tells when somebody has asked the node to leave, by `semel drain`; who runs it then calls `stop`."""
        self._target = target
        self._listen = listen
        self.advertised = "" if advertise is None else _checked_url(advertise)
        """Where other nodes reach this one, known once it is started."""
        self._cluster = cluster
        self._data = data
        self._require_key = require_key
        self._keys = (*KEYS_OF_CLIENTS, *keys)
        self._limits = limits or Limits()
        self._tools_loop = tools_loop
        self._door: Facade | None = None
        self._announcer = Announcer()
        self._parts = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Bring the node up; it takes calls from now on, and holds them until a leader is known.

        Raises:
            ToolError: the target cannot be loaded or started.
            LogError: the log cannot be used.
            NodeError: the name or the address is taken, or the log is another cluster's.
            ReplicaError: the node's own copy cannot be used.
        """
        try:
            await self._start()
        except BaseException:
            self._door = None
            await self._parts.aclose()
            raise

    async def _start(self) -> None:
        toolbox = self._make_toolbox()
        await toolbox.start()
        self._parts.push_async_callback(toolbox.close)

        log = await open_patiently(self.log_url)
        self._parts.push_async_callback(log.close)
        place = take_place(self._data or log.home, self.name or None, machine=None if log.local else machine_name())
        self._parts.callback(place.leave)
        self.name = place.name
        replica = Replica(place.replica)
        self._parts.callback(replica.close)

        shelf = Shelf(place.replica)
        shelf.clear()
        self._parts.callback(shelf.clear)
        door = self._door = Facade(toolbox, self.departure)
        routes = [*api_routes(door, place.replica, door), snapshot_route(shelf, door.commit)]
        host, ports = _address(self._listen)
        me, hosts = NodeId(self.name, secrets.token_hex(4)), [host, *self._advertised_hosts()]
        sessions = Sessions(me, door.home_of)
        app = make_app(
            self._server(), door.readiness, leaving=door.leaving, routes=routes, hosts=hosts, sessions=sessions
        )
        port = await self._serve(self._shown(app), host, ports)
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self.advertised = self.advertised or await url_for_peers(host, port, local=log.local)
        if self._data is not None or not log.local:  # else the lock on its place keeps the name to one process
            await refuse_namesake(log, self.name, self.advertised)

        identity = Identity(me, self.advertised, self._cluster, cluster_id=secrets.token_hex(16))
        loop = asyncio.get_running_loop()
        self._parts.callback(self._announcer.close)
        self._parts.callback(sessions.hang_up)
        runtime = Runtime(
            log=log,
            replica=replica,
            toolbox=toolbox,
            identity=identity,
            fetch=fetch_snapshot,
            limits=self._limits,
        )
        if not log.local and (remark := unreachable(self.advertised, hosts_of(self.log_url))):
            runtime.remarks.append(remark)
        self.failed = runtime.failed
        announce = runtime.asides.announce
        toolbox.on_event = lambda kind, uri: loop.call_soon_threadsafe(announce, kind, uri)
        runtime.asides.happened = self._announcer.happened
        self._announcer.on_watch = runtime.asides.want
        door.open(runtime)
        self._parts.push_async_callback(runtime.stop)
        await runtime.start()

    def _advertised_hosts(self) -> list[str]:
        return [urlsplit(self.advertised).hostname or ""] if self.advertised else []

    async def _serve(self, app: Any, host: str, ports: Sequence[int]) -> int:
        for port in ports:
            try:
                return await self._parts.enter_async_context(
                    serve_http(app, host, port, websocket_bytes_max=MESSAGE_BYTES_MAX)
                )
            except ListenError:
                if port == ports[-1]:
                    raise
        raise AssertionError("unreachable")

    async def stop(self, drain_s: float | None = None) -> None:
        """Take no new calls, let running tools end for up to `drain_s`, hand over, and go down."""
        if self._door is not None:
            await self._door.runtime.drain(self.departure.within_s if drain_s is None else drain_s)
        await self._parts.aclose()
        self._door = None

    async def call(
        self, tool: str, arguments: Mapping[str, Any] | None = None, *, key: str | None = None, caller: str = ANONYMOUS
    ) -> Answer:
        """Run a call once and return its answer; the same key gets the same answer, whatever happens in between.

        Raises:
            CallError: the request is refused; nothing was run under it.
            ClusterError: no outcome can be had just now; the same key may be sent again.
        """
        reply = await self._serving().call(tool, arguments or {}, key=key, caller=caller, client="semel.Node")
        return answer_of(reply)

    def tools(self) -> Sequence[Mapping[str, Any]]:
        """Return the tools of this node, as MCP's tools/list shows them."""
        return self._door.tools() if self._door is not None else ()

    def status(self) -> dict[str, Any]:
        """Return how the cluster stands as this node has read it; the shape of `semel status --json`."""
        return self._serving().status()

    async def read_to_tail(self) -> int:
        """Wait until this node has read all that the log holds as this is asked; return the position of its end.

        A `status` that is asked for next is linearizable.

        Raises:
            Unconfirmed: the log cannot tell in time where it ends, or the node does not get there in time.
        """
        return await self._serving().read_to_tail()

    async def serve_stdio(self, wire: Wire) -> None:
        """Serve MCP over stdin and stdout, too, until the client closes its end."""
        await serve_stdio(self._server(), wire)

    def _make_toolbox(self) -> McpToolbox:
        """Return what runs the tools."""
        return McpToolbox(_target(self._target), self._limits, LoopThread("semel-tools", self._tools_loop))

    def _shown(self, app: Any) -> Any:
        """Return what of the node's HTTP app is shown to others: all of it."""
        return app

    def _server(self) -> Any:
        assert self._door is not None
        return make_server(
            self._door,
            instructions=self._door.instructions,
            client_keys=self._keys,
            require_key=self._require_key,
            announcer=self._announcer,
            tasks=Tasks(self._door),
        )

    def _serving(self) -> Facade:
        if self._door is None:
            raise NoLeader("this node does not run: it was not started, or has stopped. Nothing was run")
        return self._door


def _target(given: object) -> Target:
    match given:
        case str() | Path():
            return load_target(str(given))
        case Target():
            return given
        case list() | tuple():
            return Target.of(*given)
        case _:
            return Target.of(given)


async def open_patiently(url: str) -> Log:
    """Open a log that another process may hold for a while: a stopped one, or one that is about to die."""
    for attempt in itertools.count(1):
        try:
            return await open_log(url, user_data_path("semel"))
        except LogUnavailable as error:
            if attempt == OPENINGS_MAX:
                raise
            logger.warning("%s (attempt %d of %d)", error, attempt, OPENINGS_MAX)
            await asyncio.sleep(OPEN_AGAIN_S)
    raise AssertionError("unreachable")


def _address(listen: str | None) -> tuple[str, Sequence[int]]:
    """Return the host and the ports to try of `HOST:PORT`, `[HOST]:PORT`, `:PORT` or `PORT`."""
    if listen is None:
        return DEFAULT_HOST, range(DEFAULT_PORT, DEFAULT_PORT + PORTS_TRIED)
    host, _, port = listen.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{listen!r} is no address to listen on: write HOST:PORT, such as 127.0.0.1:8420")
    return host.strip("[]") or DEFAULT_HOST, (int(port),)


def _checked_url(url: str) -> str:
    """Return a URL that peers can use as it is: http or https, a host, perhaps a port, and nothing after it."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None:
        raise UsageError(f"{url!r} cannot be advertised: write http://HOST:PORT, as other nodes reach this one")
    return url.rstrip("/")
