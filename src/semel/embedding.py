"""`Semel`: a node inside a server that its author runs, one line for the author.

Knows how such a node is kept up, and how the server's event loop and the node's own speak with each other.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semel.core.limits import Limits
from semel.errors import Draining, NoLeader, SemelError
from semel.gateway import meta
from semel.gateway.embedded.afar import Afar
from semel.gateway.embedded.doorless import Doorless
from semel.gateway.embedded.extension import Embedded
from semel.gateway.loopthread import LoopThread
from semel.gateway.runningloop import RunningLoop
from semel.gateway.upstreams.servers import InProcess
from semel.gateway.upstreams.target import Target
from semel.gateway.upstreams.toolbox import McpToolbox
from semel.log.engines import check_url, shown
from semel.node.backend import Witness
from semel.serving import DRAIN_S, Node

_AGAIN_FIRST_S = 0.5
_AGAIN_MAX_S = 30.0
"""The pause before a node that cannot start, or go on, is brought up again; it doubles."""

_END_S = 5.0
"""How long the node's thread may take to end once the node is down."""

logger = logging.getLogger("semel")


class Semel(Embedded):
    """Makes an MCP server that you run yourself a node of a cluster: each call of its tools runs once.

    `MCPServer("pay", extensions=[Semel("etcd://…")])`, or `Semel("etcd://…").install(server)` for a low-level server.
    Start as many processes of that server as you like, on whatever transport: those with the same log are one cluster.
    Each forwards calls to the one that leads, which runs its own tool, and answers from the log. What the tools'
    annotations say of them (`readOnlyHint`, `idempotentHint`) decides what a crash may do with a call.

    Args:
        log: the log's URL.
        name: the node's name; the default is node-1, or the next that is free on this machine. On a log that other
            machines can share it is this machine's name.
        listen: `HOST:PORT` for the other nodes and for `semel status`, `audit` and `drain`; the tools are not served
            there. The default is the first free port from 8420 on, on loopback: on a log that machines share, name an
            address that they reach.
        advertise: the URL at which other nodes reach this one, if not where it listens.
        cluster: the name of the cluster that the log belongs to, or is founded as.
        data: the folder for replicas; the default is beside the log.
        keys: further names in a request's `_meta` that may hold its idempotency key.
        require_key: refuse a call of a once tool that brings no key, instead of making one for it.
        limits: what the node takes on and how long it waits.
        drain_s: how long running tools may take to end when the server goes down.
        reconcile: by the names of tools, the functions that are asked whether a lost call acted before it is said to
            be in doubt; as `reconcile` of `semel.tool`. For a tool of a low-level server it returns a CallToolResult.

    The node comes up with the server and leaves before the server's own lifespan ends. While it cannot come up, calls
    are refused with the reason, stderr has it too, and it is tried again.

    Raises:
        UsageError: `log` is no URL of a log.
    """

    def __init__(
        self,
        log: str,
        *,
        name: str | None = None,
        listen: str | None = None,
        advertise: str | None = None,
        cluster: str = "semel",
        data: Path | None = None,
        keys: Sequence[str] = (),
        require_key: bool = False,
        limits: Limits | None = None,
        drain_s: float = DRAIN_S,
        reconcile: Mapping[str, Callable[..., Any]] | None = None,
    ) -> None:
        check_url(log)
        self._kept: _Kept | None = None
        limits = limits or Limits()

        def join(target: Target, loop: RunningLoop) -> _Kept:
            def make() -> _Inside:
                return _Inside(
                    target,
                    McpToolbox(target, limits, loop),
                    log=log,
                    name=name,
                    listen=listen,
                    advertise=advertise,
                    cluster=cluster,
                    data=data,
                    limits=limits,
                    drain_s=drain_s,
                )

            self._kept = _Kept(make, shown(log))
            return self._kept

        super().__init__(join, keys=keys, require_key=require_key, reconcile=reconcile)

    @property
    def url(self) -> str:
        """Where the node of this process listens; "" while it is not up."""
        node = None if self._kept is None else self._kept.node
        return "" if node is None else node.url


class _Inside(Node):
    """A node whose tools run in somebody else's loop, and which has no door of its own for clients."""

    def __init__(self, target: Target, toolbox: McpToolbox, **options: Any) -> None:
        super().__init__(target, **options)
        self._toolbox = toolbox
        places = [served.place for served in target.servers.values()]
        self.hooked = [name for place in places if isinstance(place, InProcess) for name in place.hooks]
        """The tools that have a reconcile hook."""

    @property
    def backend(self) -> Witness:
        """The node as doors see it, once it is started."""
        assert self._door is not None
        return self._door

    @property
    def remarks(self) -> Sequence[str]:
        """What an operator should know of how it was started."""
        return () if self._door is None else self._door.runtime.remarks

    def _make_toolbox(self) -> McpToolbox:
        return self._toolbox

    def _shown(self, app: Any) -> Any:
        """Return the app without its door: clients come by the author's, and past whatever guards that."""
        return Doorless(app)


class _Kept(Afar):
    """A node in a thread of its own, so that no tool that blocks the server's loop stalls it; a `Membership`.

    `join`, `ready`, `leave` and what a `Witness` has are for the server's loop; the rest happens in the thread.
    """

    def __init__(self, make: Callable[[], _Inside], log: str) -> None:
        super().__init__(LoopThread("semel-node"))
        self._make = make
        self._log = log
        self._keeping: asyncio.Task[None] | None = None
        self.node: _Inside | None = None
        self._why: Callable[[], SemelError] = lambda: NoLeader("this node has not started")
        self._settled = asyncio.Event()
        """Set once the node is up, or it is known why it is not."""

    def join(self) -> None:
        """Begin to bring the node up, and keep it up."""
        self._thread.start()
        self.across(self._begin())

    async def leave(self) -> None:
        """Drain the node and end its thread."""
        await self.across(self._end())
        if not await self._thread.close(timeout_s=_END_S):
            logger.warning("the thread of semel's node does not end, and is left behind")

    async def ready(self) -> None:
        """Wait until the node is up; raises SemelError if it is known not to be."""
        if self.node is None:
            await self.across(self.there())

    async def there(self) -> Witness:
        """Wait for the node; raises SemelError if it is known not to come."""
        await self._settled.wait()
        if self.near is None:
            raise self._why()
        return self.near

    async def _begin(self) -> None:
        self._keeping = asyncio.create_task(self._keep(), name="keep the node")

    async def _end(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.wait([self._keeping])
        if self.node is not None:
            await self.node.stop()
            self._note(lambda: Draining("this node has gone down. Nothing was run"))

    async def _keep(self) -> None:
        """Bring the node up, and up again when it cannot go on, until it is asked to leave."""
        pause_s = _AGAIN_FIRST_S
        while True:
            node = self._make()
            try:
                await node.start()
            except Exception as error:
                self._fail("start", error)
            else:
                pause_s = _AGAIN_FIRST_S
                self._up(node)
                failure = await _ended(node)
                if failure is None:
                    await node.stop()
                    self._note(lambda: Draining("this node was asked to leave (semel drain). Nothing was run"))
                    logger.warning("the node %s has left, as it was asked to; its server goes on without it", node.name)
                    return
                self._fail("go on", failure)
                await node.stop(0)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _AGAIN_MAX_S)

    def _up(self, node: _Inside) -> None:
        self.node, self.near = node, node.backend
        self._settled.set()
        logger.info("%s is up at %s, on the log %s", node.name, node.url, self._log)
        for remark in node.remarks:
            logger.warning("%s", remark)
        effects = {tool["name"]: tool["_meta"][meta.EFFECT] for tool in node.tools()}
        for name in node.hooked:
            if effects.get(name) != "once":
                logger.warning("the reconcile hook of %r is never asked: there is no once tool of this name", name)

    def _fail(self, what: str, error: Exception) -> None:
        if isinstance(error, SemelError):
            logger.error("semel's node cannot %s, and is tried again: %s", what, error)
        else:
            logger.error("semel's node cannot %s, and is tried again", what, exc_info=error)
        text = f"the node of this server cannot {what}: {error}. Nothing was run"
        self._note(lambda: NoLeader(text))

    def _note(self, why: Callable[[], SemelError]) -> None:
        self._why = why
        self.node = self.near = None
        self._settled.set()


async def _ended(node: _Inside) -> SemelError | None:
    """Return why a node cannot go on, None once it is asked to leave."""
    assert node.failed is not None
    asked = asyncio.create_task(node.departure.asked.wait(), name="departure")
    ends: list[asyncio.Future[Any]] = [node.failed, asked]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        asked.cancel()
    return node.failed.result() if node.failed.done() else None
