"""`McpToolbox`: the tools of a Target, as a node runs them.

The servers and their tools live in a thread of their own with its own event loop, so that no tool, lifespan or stray
blocking call stalls the node's. The node hands runs over and alone keeps their time; which of the two was first, the
start of a run or the end of its time, is decided by one lock a run, so that "never started" is never a guess.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
import anyio.to_thread
import msgspec
from mcp import MCPError
from pydantic import ValidationError

from semel.core.call import CallId, Spec, Status
from semel.core.limits import Limits
from semel.deadlines import Deadlines
from semel.gateway import meta
from semel.gateway.asker import Asker
from semel.gateway.loopthread import LoopThread
from semel.gateway.results import described, ended, failed, not_begun, refused
from semel.gateway.runningloop import RunningLoop
from semel.gateway.upstreams.declare import CURRENT, CurrentCall
from semel.gateway.upstreams.fleet import Fleet
from semel.gateway.upstreams.hooks import Unasked, ask_upstream
from semel.gateway.upstreams.passing import Passing
from semel.gateway.upstreams.polling import ConnectionGone, TaskEnded
from semel.gateway.upstreams.sending import request
from semel.gateway.upstreams.servers import InProcess
from semel.gateway.upstreams.target import Target
from semel.gateway.upstreams.upstream import Dismissed
from semel.gateway.upstreams.watching import Watch
from semel.node.asides import Aside, Unanswered
from semel.node.tools import Attempt, Done, Gone, Unknown

_log = logging.getLogger(__name__)

_CLOSE_S = 8.0
"""How long closing the servers may take: one has 1 s to go by itself, 1 s after SIGTERM, 1 s after SIGKILL."""

_STOP_S = 1.0
"""How long runs that are cancelled at the close may take; those that do not heed it are left behind."""

_UNWANTED_MAX = 1024
_UNWANTED_S = 600.0
"""So many calls are remembered, and for so long, that were cancelled while they waited for their turn."""

_HOOK = "its reconcile hook"

_REASON_CHARS_MAX = 300
"""What is kept of the text of an error that a hook raises."""


class _Run:
    """One run: which was first, its start or the end of its time; and the way to stop it."""

    def __init__(self) -> None:
        self._first = threading.Lock()  # taken once, by whoever is first
        self.scope = anyio.CancelScope()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done, in the node's loop, once the run has ended, is not wanted any more, or has had its time."""
        self.unwanted = False

    def begin(self) -> None:
        """Begin the run, unless its time is over; in the tools' loop."""
        if not self._first.acquire(blocking=False):
            raise asyncio.CancelledError

    def withdraw(self) -> None:
        """Take the beginning back: nothing has reached the tool; in the tools' loop."""
        self._first.release()

    def let_go(self) -> None:
        """Let whoever waits for the run go on; in the node's loop."""
        if not self.over.done():
            self.over.set_result(None)

    def end(self) -> bool:
        """Return whether the run had begun; if not, it never will. In the node's loop."""
        return not self._first.acquire(blocking=False)

    def stop(self) -> None:
        """Cancel the run; in the tools' loop.

        By a scope of anyio's, so that a run whose function hangs in a thread counts for as long as it does.
        """
        self.scope.cancel()


class _NoHook(Exception):
    """A tool that has no reconcile hook."""


class McpToolbox:
    """A `Toolbox` of MCP servers: in this process, started as stdio servers, or reached over HTTP.

    `on_event`, which may be set at any time, is called when something has changed, in the tools' thread: of which kind
    ("tools", "prompts", "resources", or "resource"), and the resource's URI.
    """

    def __init__(
        self, target: Target, limits: Limits | None = None, thread: LoopThread | RunningLoop | None = None
    ) -> None:
        self._target = target
        self._limits = limits or Limits()
        self._thread = thread or LoopThread("semel-tools")
        self._fleet = Fleet(lambda kind, uri: self.on_event(kind, uri))
        self._passing = Passing(self._fleet)
        self._runs: dict[CallId, _Run] = {}
        self._unwanted: OrderedDict[CallId, float] = OrderedDict()
        """Calls that were not wanted any more before they ran here, if they ever do, and since when."""
        self._deadlines = Deadlines()
        """When the runs' times are over; in the node's loop."""
        self._watch: Watch | None = None
        self._watching: asyncio.Task[None] | None = None
        self._performing = 0
        self._closing = False
        self.on_event: Callable[[str, str], object] = lambda _kind, _uri: None

    @property
    def fingerprint(self) -> str:
        """A short digest of names, schemas and effects; nodes whose tools differ have different ones."""
        return self._fleet.catalogue.fingerprint

    @property
    def instructions(self) -> str | None:
        """What the server says of itself to models, where there is one server."""
        return self._fleet.instructions

    async def start(self) -> None:
        """Start every server and list its tools; those that do not start beside others are tried again.

        Raises:
            UpstreamError: none of them starts.
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
        self._fleet.kill()

    def tools(self) -> Sequence[Mapping[str, Any]]:
        """Return the tools as MCP's tools/list shows them, sorted by name, with their effect in `_meta`."""
        return self._fleet.catalogue.definitions

    def offers(self) -> Mapping[str, Any]:
        """Return what the servers offer, as MCP's ServerCapabilities has it."""
        return self._fleet.offers.model_dump(by_alias=True, mode="json", exclude_none=True)

    def watch(self, uris: frozenset[str]) -> None:
        """Hear of changes of these resources from now on, and of no others."""
        self._thread.call_soon(lambda: self._fleet.watch(uris))

    async def ask(self, method: str, params: Mapping[str, Any], aside: Aside) -> dict[str, Any]:
        """Return what a server answers to a request that is no call.

        Raises:
            Unanswered: the answer is an error.
        """
        asker = Asker.of(params.get("_meta") or {}, aside)
        try:
            return await self._thread.submit(self._passing.ask(method, params, asker))
        except MCPError as error:
            raise Unanswered(error.error.model_dump(exclude_none=True)) from error

    def remarks(self) -> Sequence[str]:
        """Return what an operator should know of the servers and of the file that lists them."""
        trouble = None if self._watch is None else self._watch.trouble
        return [*([] if trouble is None else [trouble]), *self._fleet.remarks()]

    def examine(self, tool: str, arguments: Mapping[str, Any]) -> Spec:
        """Return how a call would be run.

        Raises:
            UnknownTool: there is no such tool here.
            BadArguments: the arguments do not fit its schema; the text names the place.
        """
        return self._fleet.catalogue.examine(tool, arguments)

    async def run(self, attempt: Attempt, aside: Aside | None = None) -> Done | Gone:
        """Run a tool to its end or its time limit; never raises for what the tool does.

        `aside` takes what it says, and what it asks, meanwhile.
        """
        if time.monotonic() - self._unwanted.pop(attempt.call.id, -_UNWANTED_S) < _UNWANTED_S:
            return _cancelled(attempt, began=False)
        run = self._runs[attempt.call.id] = _Run()
        work = self._thread.submit(self._perform(attempt, run, aside), run.let_go)
        self._deadlines.set(run, attempt.timeout_s, run.let_go)
        try:
            await run.over
            if work.done():
                return work.result()
        finally:
            self._deadlines.call_off(run)
            began = run.end()
            if not work.done():
                self._thread.call_soon(run.stop)
            if self._runs.get(attempt.call.id) is run:
                del self._runs[attempt.call.id]
        if run.unwanted:
            return _cancelled(attempt, began=began)
        tool, limit = attempt.call.tool, f"{attempt.timeout_s:g} s"
        if not began:
            return not_begun(
                f"{tool} never started: its server was down or had no room for the whole time limit of {limit}. "
                f"{_nothing_was_run(attempt)}"
            )
        return failed(
            f"{tool} did not come to an end within its time limit of {limit}. It was told to stop, and may still be "
            "acting: a function that does not heed cancellation runs on in its thread",
            Status.TIMED_OUT,
        )

    def stop(self, call: CallId) -> None:
        """Tell the tool that runs for a call to stop, or not to begin if it is to be run here within a while."""
        run, now_s = self._runs.get(call), time.monotonic()
        if run is None:
            self._unwanted[call] = now_s
            while len(self._unwanted) > _UNWANTED_MAX or now_s - next(iter(self._unwanted.values())) > _UNWANTED_S:
                self._unwanted.popitem(last=False)
        else:
            run.unwanted = True
            run.let_go()

    async def reconcile(self, attempt: Attempt) -> Done | Unknown:
        """Ask the tool's reconcile hook whether the tool acted; never raises for what the hook does."""
        if not self._may_have_hook(attempt.call.tool):
            return Unknown()
        scope = anyio.CancelScope()  # as in `_Run.stop`
        work = self._thread.submit(self._ask(attempt, scope))
        try:
            done, _ = await asyncio.wait([work], timeout=attempt.timeout_s)
            return work.result() if done else Unknown(f"{_HOOK} did not answer within {attempt.timeout_s:g} s")
        finally:
            if not work.done():
                self._thread.call_soon(scope.cancel)

    def _may_have_hook(self, tool: str) -> bool:
        """Return whether a tool has a hook, or may be of a server that is not up yet; in any thread."""
        entry = self._fleet.catalogue.get(tool)
        if entry is None:
            return self._fleet.may_come(tool)
        served = self._target.servers.get(entry.server)
        if served is not None and isinstance(served.place, InProcess):
            return entry.own_name in served.place.hooks
        return entry.reconcile is not None

    async def _open(self) -> None:
        """Start the servers; in the tools' loop."""
        # Twice: as many may be left behind, past their time limit, as may be running.
        anyio.to_thread.current_default_thread_limiter().total_tokens = 2 * self._limits.concurrency_max
        await self._fleet.open(self._target.servers)
        if self._target.file is not None:
            self._watch = Watch(self._target.file, self._fleet.change)
            self._watching = asyncio.create_task(self._watch.look_for_ever(), name="watch mcp.json")

    async def _shut(self) -> None:
        """End the servers; in the tools' loop."""
        if self._watching is not None:
            self._watching.cancel()
        await self._fleet.close()

    async def _perform(self, attempt: Attempt, run: "_Run", aside: Aside | None) -> Done | Gone:
        """Run a tool, whatever it does; in the tools' loop."""
        tool = attempt.call.tool
        if self._performing >= 2 * self._limits.concurrency_max:
            return not_begun(
                f"{self._performing} runs hang past their time limit: restart this node. {_nothing_was_run(attempt)}"
            )
        self._performing += 1
        try:
            with run.scope:
                return await self._call(attempt, run, aside)
            return failed(f"{tool} was stopped")  # nobody waits for it any more
        except ConnectionGone as gone:
            return Gone(str(gone))
        except TaskEnded as end:
            return failed(f"{tool} {end}", end.status)
        except MCPError as error:
            return refused(f"{tool} failed: {error.message} (protocol error {error.code})", error.error)
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

    async def _ask(self, attempt: Attempt, scope: anyio.CancelScope) -> Done | Unknown:
        """Ask a hook, whatever it does; in the tools' loop."""
        if self._performing >= 2 * self._limits.concurrency_max:
            return Unknown(f"{_HOOK} was not asked: {self._performing} runs hang past their time limit")
        self._performing += 1
        known: dict[str, Any] | None = None
        try:
            _set_current(attempt)
            with scope:
                known = await self._known(attempt)
        except _NoHook:
            return Unknown()
        except (Unasked, ConnectionGone, Dismissed, TaskEnded) as error:
            return Unknown(f"{_HOOK} failed: {_text(error)}")
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

    async def _call(self, attempt: Attempt, run: "_Run", aside: Aside | None) -> Done:
        tool, arguments = attempt.call.tool, msgspec.json.decode(attempt.call.arguments)
        _set_current(attempt)
        while (found := await self._fleet.find(tool)) is not None:
            entry, upstream = found
            function = upstream.function(entry.own_name)
            if function is not None:
                run.begin()
                return ended(tool, await function(arguments), self._limits)
            asker = Asker.of(msgspec.json.decode(attempt.call.meta), aside)
            params = {
                **(msgspec.json.decode(attempt.call.answers) if attempt.call.answers is not None else {}),
                "name": entry.own_name,
                "arguments": arguments,
                "_meta": {**asker.meta, **_told(attempt)},
                **entry.task_wanted(attempt.timeout_s),
            }
            with contextlib.suppress(Dismissed):  # then its successor is found, or nobody
                return ended(tool, await request(upstream, "tools/call", params, asker, run), self._limits)
        return not_begun(f"there is no tool {tool!r} here any more. {_nothing_was_run(attempt)}")

    async def _known(self, attempt: Attempt) -> dict[str, Any] | None:
        """Return what the hook of a tool knows of a lost call; raises _NoHook if it has none."""
        found = await self._fleet.find(attempt.call.tool)
        if found is None:
            raise _NoHook
        entry, upstream = found
        arguments = msgspec.json.decode(attempt.call.arguments)
        if isinstance(upstream.place, InProcess):
            if (hook := upstream.place.hooks.get(entry.own_name)) is None:
                raise _NoHook
            return await hook(arguments)
        if entry.reconcile is None:
            raise _NoHook
        return await ask_upstream(entry, self._fleet.catalogue, upstream, arguments, _told(attempt))


def _cancelled(attempt: Attempt, *, began: bool) -> Done:
    """Return the end of a run that whoever asked for it does not want any more."""
    tool = attempt.call.tool
    if not began:
        return not_begun(f"{tool} was cancelled before it began. {_nothing_was_run(attempt)}", Status.CANCELLED)
    return failed(f"{tool} was cancelled while it ran. It was told to stop, and may have acted", Status.CANCELLED)


def _nothing_was_run(attempt: Attempt) -> str:
    """Return what is known of a call whose attempt never reached its tool: those before it were lost as they ran."""
    if attempt.attempt == 1:
        return "Nothing was run"
    return "This attempt ran nothing; an earlier one, whose node or server was lost, may have acted"


def _told(attempt: Attempt) -> dict[str, Any]:
    """Return what an upstream's tool learns of its call, in `_meta`."""
    return {meta.KEY: attempt.call.id.key, meta.TERM: attempt.term, meta.ATTEMPT: attempt.attempt}


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
    """Return what an error says, with its kind, as one line that is not too long for a reason in the log."""
    return " ".join(described(error).split())[:_REASON_CHARS_MAX]


def _text(error: Exception) -> str:
    """Return what an error of ours says, as such a line."""
    return " ".join(str(error).split())[:_REASON_CHARS_MAX]
