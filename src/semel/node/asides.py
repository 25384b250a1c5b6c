"""What passes beside the log between a running tool and whoever waits for its call, on whichever nodes they are.

Progress, log lines, a tool's questions to the client, the client's answers, the wish to stop, and what changed at a
server. All of it may get lost, and nothing that is promised rests on it. Knows who waits and who runs; knows no MCP
but that a message has a method and parameters.
"""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

import msgspec

from semel.core.call import CallId, NodeId, encode_payload

QUESTIONS_MAX = 4096
"""Questions of tools on other nodes that are remembered for who may yet ask for their call; the oldest go first."""

AGAIN_S = 0.1
"""What changes again within this time is announced once more, at its end."""

OPEN_MAX = 64
"""Questions about one call that may be open at once; each is a window in front of somebody."""


_NOT_ASKED = -32600
"""The code of JSON-RPC with which a tool's question comes back that is put to nobody."""


class Told(msgspec.Struct, frozen=True, tag="told"):
    """A notification of the tool that runs for a call."""

    call: CallId
    method: str
    params: msgspec.Raw


class Asked(msgspec.Struct, frozen=True, tag="asked"):
    """A question of the tool that runs for a call to whoever waits for it; `key` names it among all nodes."""

    call: CallId
    key: str
    method: str
    params: msgspec.Raw


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """An answer to a question about a call: a result, or an error as JSON-RPC has it."""

    call: CallId
    key: str
    result: dict[str, Any] | None = None  # not Raw: msgspec reads no Raw that may also be null
    error: dict[str, Any] | None = None


class Withdrawn(msgspec.Struct, frozen=True, tag="withdrawn"):
    """A question needs no answer any more."""

    call: CallId
    key: str


class Stop(msgspec.Struct, frozen=True, tag="stop"):
    """Whoever asked for a call wants its tool to stop."""

    call: CallId


class Happened(msgspec.Struct, frozen=True, tag="happened"):
    """Something changed at a server behind the sender: the list of a kind, or the resource at `uri`."""

    kind: str
    uri: str = ""


class Watched(msgspec.Struct, frozen=True, tag="watched"):
    """The resources that clients of the sender want to hear of: all of them, each time."""

    uris: tuple[str, ...]


AsideMessage = Told | Asked | Answered | Withdrawn | Stop | Happened | Watched


class Unanswered(Exception):
    """A question was answered with an error; `error` is that of JSON-RPC: code, message, perhaps data."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(str(error.get("message", "")))
        self.error = error


class Hub(Protocol):
    """Where questions are answered."""

    def answer(
        self,
        call: CallId,
        key: str,
        *,
        result: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> None:
        """Answer a question about a call; an answer to one that is not open any more changes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What a tool asks; `call` and `key` name it, for an answer that comes by another way than `answer`."""

    call: CallId
    key: str
    method: str
    params: dict[str, Any]
    asker: NodeId
    hub: "Hub" = field(repr=False, compare=False)

    def answer(self, *, result: Mapping[str, Any] | None = None, error: Mapping[str, Any] | None = None) -> None:
        """Answer it; an answer to one that is not open any more changes nothing."""
        self.hub.answer(self.call, self.key, result=result, error=error)


class Party(Protocol):
    """Somebody who waits for a call at this node; all in the node's event loop."""

    def told(self, method: str, params: dict[str, Any]) -> None:
        """Take a notification of the tool's."""
        ...

    def asked(self, question: Question) -> None:
        """Take a question."""
        ...

    def withdrawn(self, key: str) -> None:
        """Note that a question needs no answer any more."""
        ...


@dataclass(slots=True)
class _Aside:
    """What is open about one call at this node."""

    parties: list[Party] = field(default_factory=list)
    questions: dict[str, Question] = field(default_factory=dict)


class Aside:
    """The running tool's end of it, for one call; its methods may be called from any thread, but for `close`."""

    def __init__(self, hub: "Asides", loop: asyncio.AbstractEventLoop, call: CallId) -> None:
        self._hub = hub
        self._loop = loop
        self._call = call
        self._over: asyncio.Future[None] = loop.create_future()

    def tell(self, method: str, params: Mapping[str, Any]) -> None:
        """Pass a notification on to whoever waits."""
        if not self._over.done():
            with suppress(RuntimeError):  # the node's loop is closed
                self._loop.call_soon_threadsafe(self._hub.tell, self._call, method, dict(params))

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of whoever waits, be it long in coming.

        Raises:
            Unanswered: the answer is an error.
        """
        asking = self._hub.ask(self._call, method, dict(params), self._over)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asking, self._loop))

    def close(self) -> None:
        """End it with the run, in the node's event loop: nobody is asked any more."""
        if not self._over.done():
            self._over.set_result(None)


class Asides:
    """All of it at one node. `broadcast` sends to the peers that there is a connection to."""

    def __init__(self, me: NodeId, broadcast: Callable[[AsideMessage], None]) -> None:
        self._me = me
        self._broadcast = broadcast
        self._loop = asyncio.get_running_loop()
        self._calls: OrderedDict[CallId, _Aside] = OrderedDict()
        self._answers: dict[tuple[CallId, str], asyncio.Future[dict[str, Any]]] = {}
        """By a question's call, too: who asked for one call must not answer for another."""
        self._numbers = itertools.count(1)
        self._uris: dict[NodeId, frozenset[str]] = {}
        self._lately: dict[Happened, bool] = {}
        """What was announced a moment ago, and whether it has happened again since."""
        self.stop: Callable[[CallId], None] = lambda _call: None
        """Stops a tool that runs here."""
        self.happened: Callable[[str, str], None] = lambda _kind, _uri: None
        """Is told what changed, here or at a peer."""
        self.questioned: Callable[[CallId], None] = lambda _call: None
        """Is told of which call other questions are open now."""
        self.watch: Callable[[frozenset[str]], None] = lambda _uris: None
        """Is told which resources somebody wants to hear of, here or at a peer."""

    # Who waits.

    def waiting(self, call: CallId, party: Party) -> "_Waiting":
        """Let somebody hear of a call as long as the context is open; what is still asked, they are asked at once."""
        return _Waiting(self, call, party)

    def questions(self, call: CallId) -> dict[str, Question]:
        """Return what is asked about a call just now, by the questions' keys."""
        aside = self._calls.get(call)
        return {} if aside is None else dict(aside.questions)

    def answer(
        self,
        call: CallId,
        key: str,
        *,
        result: Mapping[str, Any] | None = None,
        error: Mapping[str, Any] | None = None,
    ) -> None:
        """Answer a question about a call; an answer to one that is not open any more changes nothing."""
        answered = Answered(call, key, None if result is None else dict(result), None if error is None else dict(error))
        if not self._take_answer(answered):
            self._broadcast(answered)

    def cancel(self, call: CallId) -> None:
        """Have the tool of a call stopped, wherever it runs."""
        self.stop(call)
        self._broadcast(Stop(call))

    # Who runs.

    def of(self, call: CallId) -> Aside:
        """Return the end for a tool that runs here."""
        return Aside(self, self._loop, call)

    def tell(self, call: CallId, method: str, params: dict[str, Any]) -> None:
        """Pass a notification of a tool that runs here on to whoever waits: here, or else at the peers.

        One that no peer could read is said to nobody.
        """
        aside = self._calls.get(call)
        if aside is not None and aside.parties:
            self._tell_here(aside, method, params)
        else:
            with suppress(TypeError, ValueError, RecursionError):
                self._broadcast(Told(call, method, msgspec.Raw(encode_payload(params))))

    async def ask(
        self, call: CallId, method: str, params: dict[str, Any], over: "asyncio.Future[None]"
    ) -> dict[str, Any]:
        """Ask whoever waits for a call whose tool runs here, until its run is `over`; raises Unanswered."""
        aside = self._calls.get(call)
        if over.done() or (aside is not None and len(aside.questions) >= OPEN_MAX):
            why = "the call has ended" if over.done() else f"{OPEN_MAX} questions of this call are open already"
            raise Unanswered({"code": _NOT_ASKED, "message": f"{why}: its client was not asked"})
        key = f"{self._me.incarnation}-{next(self._numbers)}"
        question = Question(call, key, method, params, self._me, self)
        try:
            asked = _asked(question)
        except (TypeError, ValueError, RecursionError) as error:
            raise Unanswered({"code": _NOT_ASKED, "message": f"the question is not JSON: {error}"}) from error
        answer = self._answers[call, key] = self._loop.create_future()
        try:
            self._put(question)
            self._broadcast(asked)
            await asyncio.wait([answer, over], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise Unanswered({"code": _NOT_ASKED, "message": "the call has ended, and nobody has answered"})
            given: dict[str, Any] = answer.result()
            return given
        finally:
            del self._answers[call, key]
            self._withdraw(call, key)
            self._broadcast(Withdrawn(call, key))

    # What changed.

    def announce(self, kind: str, uri: str = "") -> None:
        """Say here and to the peers that something changed at a server of this node; what nobody wants, to nobody.

        If it happens again at once, that is said once: a server may say so without end.
        """
        event = Happened(kind, uri)
        if uri and not any(uri in wanted for wanted in self._uris.values()):
            return
        if event in self._lately:
            self._lately[event] = True
            return
        self._lately[event] = False
        self._loop.call_later(AGAIN_S, self._announce_again, event)
        self.happened(kind, uri)
        self._broadcast(event)

    def want(self, uris: frozenset[str]) -> None:
        """Say which resources the clients of this node want to hear of."""
        self._uris[self._me] = uris
        self._broadcast(Watched(tuple(uris)))
        self._watch_all()

    def met(self) -> list[AsideMessage]:
        """Return what a peer should be told that was met anew: what is wanted here, and what is asked."""
        asked = [_asked(question) for question in self._questions() if question.asker == self._me]
        return [Watched(tuple(wanted)), *asked] if (wanted := self._uris.get(self._me)) else [*asked]

    def lost(self, peer: NodeId) -> None:
        """Forget what a peer wanted and asked, to which there is no connection any more; it says so again if it can."""
        for question in self._questions():
            if question.asker == peer:
                self._withdraw(question.call, question.key)
        if self._uris.pop(peer, None):
            self._watch_all()

    # What peers say.

    def received(self, sender: NodeId, message: AsideMessage) -> None:
        """Take a peer's message."""
        match message:
            case Told():
                if (aside := self._calls.get(message.call)) is not None:
                    self._tell_here(aside, message.method, msgspec.json.decode(message.params))
            case Asked():
                params = msgspec.json.decode(message.params)
                self._put(Question(message.call, message.key, message.method, params, sender, self))
                self._bound()
            case Answered():
                self._take_answer(message)
            case Withdrawn():
                self._withdraw(message.call, message.key)
            case Stop():
                self.stop(message.call)
            case Happened():
                self.happened(message.kind, message.uri)
            case Watched():
                self._uris[sender] = frozenset(message.uris)
                self._watch_all()

    # Within.

    @staticmethod
    def _tell_here(aside: _Aside, method: str, params: dict[str, Any]) -> None:
        for party in list(aside.parties):
            party.told(method, params)

    def _questions(self) -> list[Question]:
        return [question for aside in self._calls.values() for question in aside.questions.values()]

    def _put(self, question: Question) -> None:
        aside = self._calls.setdefault(question.call, _Aside())
        aside.questions[question.key] = question
        self.questioned(question.call)
        for party in list(aside.parties):
            party.asked(question)

    def _withdraw(self, call: CallId, key: str) -> None:
        aside = self._calls.get(call)
        if aside is not None and aside.questions.pop(key, None) is not None:
            self.questioned(call)
            for party in list(aside.parties):
                party.withdrawn(key)
            self._tidy(call, aside)

    def _take_answer(self, answered: Answered) -> bool:
        """Hand an answer to a tool that runs here; return False if none here asked so. Nobody is asked any more."""
        self._withdraw(answered.call, answered.key)
        answer = self._answers.get((answered.call, answered.key))
        if answer is None:
            return False
        if not answer.done():
            if answered.error is None:
                answer.set_result(answered.result or {})
            else:
                answer.set_exception(Unanswered(answered.error))
                answer.exception()  # if the run ends in this very moment, nobody asks for it
        return True

    def _announce_again(self, event: Happened) -> None:
        if self._lately.pop(event):
            self.announce(event.kind, event.uri)

    def _watch_all(self) -> None:
        self.watch(frozenset(itertools.chain.from_iterable(self._uris.values())))

    def _tidy(self, call: CallId, aside: _Aside) -> None:
        if not aside.parties and not aside.questions and self._calls.get(call) is aside:
            del self._calls[call]

    def _bound(self) -> None:
        """Forget the oldest questions for which nobody waits here, if there are too many."""
        if len(self._calls) > QUESTIONS_MAX:
            for call in [call for call, aside in self._calls.items() if not aside.parties][: QUESTIONS_MAX // 8]:
                del self._calls[call]


class _Waiting:
    """Somebody who waits for a call; written out, since every call has one."""

    def __init__(self, hub: Asides, call: CallId, party: Party) -> None:
        self._hub = hub
        self._call = call
        self._party = party

    def __enter__(self) -> None:
        self._aside = self._hub._calls.setdefault(self._call, _Aside())
        self._aside.parties.append(self._party)
        for question in list(self._aside.questions.values()):
            self._party.asked(question)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._aside.parties.remove(self._party)
        self._hub._tidy(self._call, self._aside)


def _asked(question: Question) -> Asked:
    params = msgspec.Raw(encode_payload(question.params))
    return Asked(question.call, question.key, question.method, params)
