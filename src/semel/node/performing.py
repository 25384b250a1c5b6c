"""Performs what a node's decider decides: appends, runs, questions to hooks and to the log, messages, answers.

Each goes on by itself, and what comes of it is one input. Decides nothing, and knows no fold.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from semel.core.call import Status
from semel.core.codec import encode
from semel.core.message import (
    Answer,
    Append,
    Appended,
    Confirm,
    Confirmed,
    Deny,
    Ended,
    Input,
    Lost,
    Output,
    Reconcile,
    Reconciled,
    Refusal,
    Run,
    Send,
)
from semel.errors import ClusterError, Conflict, LogUnavailable, SemelError, by_code
from semel.log.protocol import Log
from semel.node.asides import Asides
from semel.node.backend import Reply
from semel.node.desk import Desk
from semel.node.insisting import Troubles, insist, pause_s
from semel.node.peers import Peers
from semel.node.settled import settled
from semel.node.tasks import Tasks
from semel.node.tools import Attempt, Done, Gone, Toolbox

_log = logging.getLogger("semel")


@dataclass(frozen=True, slots=True)
class Performing:
    """The hands of one node.

    `step` takes inputs; `written` is told of the last entry of an append that stands, and its position.
    """

    log: Log
    toolbox: Toolbox
    asides: Asides
    peers: Peers
    desk: Desk
    troubles: Troubles
    tasks: Tasks
    step: Callable[[Input], None]
    written: Callable[[int, bytes], None]

    def perform(self, output: Output) -> None:
        """Perform one effect, or begin to."""
        match output:
            case Append():
                try:
                    self._append(output.after, [encode(entry) for entry in output.entries])
                except Exception as error:  # the decider waits for it, and would wait for ever
                    self.tasks.tell(error)
            case Run():
                self.tasks.begin(self._run(output), f"run {output.call.tool}")
            case Reconcile():
                self.tasks.begin(self._reconcile(output), f"reconcile {output.call.tool}")
            case Send():
                self.peers.send(output.to, output.message)
            case Confirm():
                self.tasks.begin(self._confirm(output.ticket), "confirm")
            case Answer():
                self.desk.answer(output.ticket, Reply(output.record, output.replayed))
            case Deny():
                self.desk.refuse(output.ticket, self._refusal(output.refusal))

    def _refusal(self, refusal: Refusal) -> SemelError:
        """Return what a client is told, with what ails the log in front if that may be why."""
        error = by_code(refusal.code, refusal.message)
        if self.troubles.first is not None and isinstance(error, ClusterError):
            return type(error)(f"{self.troubles.first}: {refusal.message}")
        return error

    def _append(self, after: int, encoded: Sequence[bytes], attempt: int = 0) -> None:
        """Propose the very same append until the log decides it."""
        proposal = asyncio.ensure_future(self.log.append(after, encoded))
        self.tasks.then(proposal, partial(self._appended, after, encoded, attempt))

    def _appended(self, after: int, encoded: Sequence[bytes], attempt: int, proposal: "asyncio.Future[int]") -> None:
        try:
            proposal.result()
        except LogUnavailable as error:
            self.troubles.note("append", str(error))
            self.tasks.begin(self._append_again(after, encoded, attempt), "append")
            return
        except Conflict:
            committed = False
        else:
            committed = True
            self.written(after + len(encoded), encoded[-1])
        self.troubles.note("append", None)
        self.step(Appended(after, committed))

    async def _append_again(self, after: int, encoded: Sequence[bytes], attempt: int) -> None:
        await asyncio.sleep(pause_s(attempt))
        self._append(after, encoded, attempt + 1)

    async def _confirm(self, ticket: int) -> None:
        self.step(Confirmed(ticket, await insist(self.log.tail)))

    async def _run(self, run: Run) -> None:
        begun_s = time.monotonic()
        ended: Done | Gone | None = settled(run.call)
        if ended is None:
            attempt = Attempt(run.call, run.term, run.attempt, run.timeout_s)
            aside = self.asides.of(run.call.id)
            try:
                ended = await self.toolbox.run(attempt, aside)
            finally:
                aside.close()
        duration_ms = round((time.monotonic() - begun_s) * 1000, 3)
        if isinstance(ended, Gone):
            reason = _sayable(ended.reason)
            _log.warning("%s was lost while it ran: %s", run.call.tool, reason)
            self.step(Lost(run.run, reason))
        else:
            self.step(Ended(run.run, ended.status, ended.result, duration_ms))

    async def _reconcile(self, question: Reconcile) -> None:
        """Ask the tool's hook; only a once call is asked after, so its one attempt was the first."""
        call = question.call
        learnt = await self.toolbox.reconcile(Attempt(call, question.term, 1, question.timeout_s))
        if isinstance(learnt, Done):
            assert learnt.status is Status.OK
            _log.info("%s acted for the key %r, as its reconcile hook knows", call.tool, call.id.key)
            self.step(Reconciled(question.intent, learnt.result))
        else:
            self.step(Reconciled(question.intent, None, _sayable(learnt.reason)))


def _sayable(text: str) -> str:
    """Return what a server or a hook said with a ? for each half character: a file's name has some, an entry none."""
    return text.encode(errors="replace").decode()
