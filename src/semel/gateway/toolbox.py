"""`McpToolbox`: the tools of a Target, as a node runs them.

The servers and their tools live in a thread of their own with its own event loop, so that no tool, lifespan or stray
blocking call stalls the node's. The node hands runs over and alone keeps their time; which of the two was first, the
start of a run or the end of its time, is decided by one lock a run, so that "never started" is never a guess.
"""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
import anyio.to_thread
from mcp import MCPError
from pydantic import ValidationError

from semel.core.call import Spec, Status
from semel.core.limits import Limits
from semel.errors import UpstreamError
from semel.gateway import meta
from semel.gateway.catalogue import Catalogue, Entry, make_entry
from semel.gateway.declare import CURRENT, CurrentCall
from semel.gateway.loopthread import LoopThread
from semel.gateway.results import described, ended, failed, not_begun
from semel.gateway.servers import Hook, InProcess
from semel.gateway.target import Target
from semel.gateway.upstream import ConnectionGone, Upstream
from semel.node.tools import Attempt, Done, Gone, Unknown

_log = logging.getLogger(__name__)

_CLOSE_S = 8.0
"""How long closing the servers may take: one has 1 s to go by itself, 1 s after SIGTERM, 1 s after SIGKILL."""

_STOP_S = 1.0
"""How long runs that are cancelled at the close may take; those that do not heed it are left behind."""

_HOOK = "its reconcile hook"

_REASON_CHARS_MAX = 300
"""What is kept of the text of an error that a hook raises."""


class _Run:
    """One run: which was first, its start or the end of its time; and the way to stop it."""

    def __init__(self) -> None:
        self._first = threading.Lock()  # taken once, by whoever is first
        self.scope = anyio.CancelScope()

    def begin(self) -> None:
        """Begin the run, unless its time is over; in the tools' loop."""
        if not self._first.acquire(blocking=False):
            raise asyncio.CancelledError

    def end(self) -> bool:
        """Return whether the run had begun; if not, it never will. In the node's loop."""
        return not self._first.acquire(blocking=False)

    def stop(self) -> None:
        """Cancel the run; in the tools' loop.

        By a scope of anyio's, so that a run whose function hangs in a thread counts for as long as it does.
        """
        self.scope.cancel()


class McpToolbox:
    """A `Toolbox` of MCP servers: in this process, or started as stdio servers."""

    def __init__(self, target: Target, limits: Limits | None = None) -> None:
        self._target = target
        self._limits = limits or Limits()
        self._thread = LoopThread("semel-tools")
        self._catalogue = Catalogue()
        self._upstreams: dict[str, Upstream] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._performing = 0
        self._closing = False

    @property
    def fingerprint(self) -> str:
        """A short digest of names, schemas and effects; nodes whose tools differ have different ones."""
        return self._catalogue.fingerprint

    @property
    def instructions(self) -> str | None:
        """What the server says of itself to models, where there is one server."""
        only = list(self._upstreams.values())
        return only[0].instructions if len(only) == 1 else None

    async def start(self) -> None:
        """Start every server and list its tools.

        Raises:
            UpstreamError: one of them does not start, or two tools have one name.
        """
        self._thread.start()
        try:
            await self._thread.submit(self._open())
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop every server; runs under way are cancelled, and no child process is left."""
        self._closing = True
        await asyncio.wait([self._thread.submit(self._shut())], timeout=_CLOSE_S)
        if not await self._thread.close(timeout_s=_STOP_S):
            _log.warning("%d runs do not stop and are left behind in their threads", self._performing)
        for upstream in self._upstreams.values():
            upstream.kill()

    def tools(self) -> Sequence[Mapping[str, Any]]:
        """Return the tools as MCP's tools/list shows them, sorted by name, with their effect in `_meta`."""
        return self._catalogue.definitions

    def examine(self, tool: str, arguments: Mapping[str, Any]) -> Spec:
        """Return how a call would be run.

        Raises:
            UnknownTool: there is no such tool here.
            BadArguments: the arguments do not fit its schema; the text names the place.
        """
        return self._catalogue.examine(tool, arguments)

    async def run(self, attempt: Attempt) -> Done | Gone:
        """Run a tool to its end or its time limit; never raises for what the tool does."""
        run = _Run()
        work = self._thread.submit(self._perform(attempt, run))
        try:
            done, _ = await asyncio.wait([work], timeout=attempt.timeout_s)
            if done:
                return work.result()
        finally:
            began = run.end()
            self._thread.call_soon(run.stop)
        tool, limit = attempt.call.tool, f"{attempt.timeout_s:g} s"
        if not began:
            return not_begun(
                f"{tool} never started: its server was down or had no room for the whole time limit of {limit}. "
                "Nothing was run"
            )
        return failed(
            f"{tool} did not come to an end within its time limit of {limit}. It was told to stop, and may still be "
            "acting: a function that does not heed cancellation runs on in its thread",
            Status.TIMED_OUT,
        )

    async def reconcile(self, attempt: Attempt) -> Done | Unknown:
        """Ask the tool's reconcile hook whether the tool acted; never raises for what the hook does."""
        hook = self._hook_of(attempt.call.tool)
        if hook is None:
            return Unknown()
        scope = anyio.CancelScope()  # as in `_Run.stop`
        work = self._thread.submit(self._ask(attempt, hook, scope))
        try:
            done, _ = await asyncio.wait([work], timeout=attempt.timeout_s)
            return work.result() if done else Unknown(f"{_HOOK} did not answer within {attempt.timeout_s:g} s")
        finally:
            if not work.done():
                self._thread.call_soon(scope.cancel)

    def _hook_of(self, tool: str) -> Hook | None:
        """Return a tool's hook; in any thread."""
        entry = self._catalogue.get(tool)
        server = None if entry is None else self._target.servers[entry.server]
        return server.hooks.get(entry.own_name) if entry is not None and isinstance(server, InProcess) else None

    async def _open(self) -> None:
        """Start the servers, side by side; in the tools' loop."""
        # Twice: as many may be left behind, past their time limit, as may be running.
        anyio.to_thread.current_default_thread_limiter().total_tokens = 2 * self._limits.concurrency_max
        self._upstreams = {name: Upstream(name, server, self._refresh) for name, server in self._target.servers.items()}
        firsts: list[asyncio.Future[None]] = []
        for upstream in self._upstreams.values():
            first = asyncio.get_running_loop().create_future()
            firsts.append(first)
            self._keepers.append(asyncio.create_task(upstream.keep(first)))
        await asyncio.gather(*firsts)
        self._catalogue = self._listed()

    async def _shut(self) -> None:
        """End the servers; in the tools' loop."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    def _refresh(self) -> None:
        """Take over what the servers list now; in the tools' loop."""
        try:
            self._catalogue = self._listed()
        except UpstreamError as error:
            _log.warning("the tools stay as they were: %s", error)

    def _listed(self) -> Catalogue:
        several = len(self._upstreams) > 1
        return Catalogue(
            make_entry(upstream.name, tool, prefix=f"{upstream.name}_" if several else "")
            for upstream in self._upstreams.values()
            for tool in upstream.tools
        )

    async def _perform(self, attempt: Attempt, run: "_Run") -> Done | Gone:
        """Run a tool, whatever it does; in the tools' loop."""
        tool = attempt.call.tool
        entry = self._catalogue.get(tool)
        if entry is None:
            return not_begun(f"there is no tool {tool!r} here any more. Nothing was run")
        if self._performing >= 2 * self._limits.concurrency_max:
            return not_begun(f"{self._performing} runs hang past their time limit: restart this node. Nothing was run")
        self._performing += 1
        try:
            with run.scope:
                return ended(tool, await self._call(attempt, entry, run.begin), self._limits)
            return failed(f"{tool} was stopped")  # nobody waits for it any more
        except ConnectionGone as gone:
            return Gone(str(gone))
        except MCPError as error:
            return failed(f"{tool} failed: {error.message} (protocol error {error.code})")
        except ValidationError as error:
            return failed(f"{tool} ran, and what its server answered is no result of a tool: {error}")
        except asyncio.CancelledError:
            if self._closing:
                return Gone("this node closed its tools during the call")
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return failed(f"{tool} cancelled itself")
        except (SystemExit, KeyboardInterrupt) as error:
            return failed(f"{tool} tried to end the process ({described(error)}), which a tool cannot")
        except BaseException as error:  # whatever else a tool may throw, the thread lives on
            return failed(f"{tool} failed: {described(error)}")
        finally:
            self._performing -= 1

    async def _ask(self, attempt: Attempt, hook: Hook, scope: anyio.CancelScope) -> Done | Unknown:
        """Ask a hook, whatever it does; in the tools' loop."""
        if self._performing >= 2 * self._limits.concurrency_max:
            return Unknown(f"{_HOOK} was not asked: {self._performing} runs hang past their time limit")
        self._performing += 1
        known: dict[str, Any] | None = None
        try:
            _set_current(attempt)
            with scope:
                known = await hook(json.loads(bytes(attempt.call.arguments)))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling() and not self._closing:
                raise
            return Unknown(f"{_HOOK} was stopped")
        except BaseException as error:  # as for a tool
            _log.warning("the reconcile hook of %s raised", attempt.call.tool, exc_info=error)
            return Unknown(f"{_HOOK} failed: {_line(error)}")
        finally:
            self._performing -= 1
        if known is None:
            return Unknown(f"{_HOOK} found no sign of it")
        done = ended(f"the reconcile hook of {attempt.call.tool}", known, self._limits)
        return done if done.status is Status.OK else Unknown(f"{_HOOK} failed: it gave no result of the tool")

    async def _call(self, attempt: Attempt, entry: Entry, begin: Callable[[], None]) -> dict[str, Any]:
        call = attempt.call
        _set_current(attempt)
        told = {meta.KEY: call.id.key, meta.TERM: attempt.term, meta.ATTEMPT: attempt.attempt}
        upstream = self._upstreams[entry.server]
        return await upstream.call(entry.own_name, json.loads(bytes(call.arguments)), told, begin)


def _set_current(attempt: Attempt) -> None:
    """Let the function that is run next learn of its call."""
    CURRENT.set(
        CurrentCall(
            key=attempt.call.id.key,
            caller=attempt.call.id.caller,
            term=attempt.term,
            attempt=attempt.attempt,
            timeout_s=attempt.timeout_s,
        )
    )


def _line(error: BaseException) -> str:
    """Return what an error says as one line that is not too long for a reason in the log."""
    return " ".join(described(error).split())[:_REASON_CHARS_MAX]
