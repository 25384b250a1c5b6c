"""What passes beside the log between a running tool and whoever waits for its call, on whichever nodes they are.

Progress, log lines, a tool's questions to the client, the client's answers, the wish to stop, and what changed at a
server. All of it may get lost, and nothing that is promised rests on it. Knows who waits and who runs; knows no MCP
but that a message has a method and parameters.
"""

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from semel.core.call import CallId, NodeId

QUESTIONS_MAX = 4096
"""Questions of tools on other nodes that are remembered for who may yet ask for their call; the oldest go first."""


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
    """An answer: a result, or an error as JSON-RPC has it."""

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


@dataclass(frozen=True, slots=True)
class Question:
    """What a tool asks; `key` names it, for an answer that comes by another way than `answer`."""

    key: str
    method: str
    params: dict[str, Any]
    hub: "Asides" = field(repr=False, compare=False)

    def answer(self, *, result: Mapping[str, Any] | None = None, error: Mapping[str, Any] | None = None) -> None:
        """Answer it; an answer to one that is not open any more changes nothing."""
        self.hub.answer(self.key, result=result, error=error)


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
    """The running tool's end of it, for one call; its methods may be called from any thread."""

    def __init__(self, hub: "Asides", loop: asyncio.AbstractEventLoop, call: CallId) -> None:
        self._hub = hub
        self._loop = loop
        self._call = call

    def tell(self, method: str, params: Mapping[str, Any]) -> None:
        """Pass a notification on to whoever waits."""
        with suppress(RuntimeError):  # the node's loop is closed
            self._loop.call_soon_threadsafe(self._hub.tell, self._call, method, dict(params))

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer of whoever waits, be it long in coming.

        Raises:
            Unanswered: the answer is an error.
        """
        asking = self._hub.ask(self._call, method, dict(params))
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(asking, self._loop))


class Asides:
    """All of it at one node. `broadcast` sends to the peers that there is a connection to."""

    def __init__(self, me: NodeId, broadcast: Callable[[AsideMessage], None]) -> None:
        self._me = me
        self._broadcast = broadcast
        self._loop = asyncio.get_running_loop()
        self._calls: OrderedDict[CallId, _Aside] = OrderedDict()
        self._answers: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._uris: dict[NodeId, tuple[str, ...]] = {}
        self.stop: Callable[[CallId], None] = lambda _call: None
        """Stops a tool that runs here."""
        self.happened: Callable[[str, str], None] = lambda _kind, _uri: None
        """Is told what changed, here or at a peer."""
        self.watch: Callable[[frozenset[str]], None] = lambda _uris: None
        """Is told which resources somebody wants to hear of, here or at a peer."""

    # Who waits.

    @contextmanager
    def waiting(self, call: CallId, party: Party) -> Iterator[None]:
        """Let somebody hear of a call for as long as they wait for it; what is still asked, they are asked at once."""
        aside = self._calls.setdefault(call, _Aside())
        aside.parties.append(party)
        for question in list(aside.questions.values()):
            party.asked(question)
        try:
            yield
        finally:
            aside.parties.remove(party)
            self._tidy(call, aside)

    def answer(
        self, key: str, *, result: Mapping[str, Any] | None = None, error: Mapping[str, Any] | None = None
    ) -> None:
        """Answer a question; an answer to one that is not open any more changes nothing."""
        if not self._take_answer(key, result, error):
            for call in [call for call, aside in self._calls.items() if key in aside.questions]:
                self._withdraw(call, key)  # nobody is to be asked once more before the other node says so
            self._broadcast(
                Answered(key, None if result is None else dict(result), None if error is None else dict(error))
            )

    def cancel(self, call: CallId) -> None:
        """Have the tool of a call stopped, wherever it runs."""
        self.stop(call)
        self._broadcast(Stop(call))

    # Who runs.

    def of(self, call: CallId) -> Aside:
        """Return the end for a tool that runs here."""
        return Aside(self, self._loop, call)

    def tell(self, call: CallId, method: str, params: dict[str, Any]) -> None:
        """Pass a notification of a tool that runs here on to whoever waits: here, or else at the peers."""
        aside = self._calls.get(call)
        if aside is not None and aside.parties:
            self._tell_here(aside, method, params)
        else:
            self._broadcast(Told(call, method, msgspec.Raw(msgspec.json.encode(params))))

    async def ask(self, call: CallId, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Ask whoever waits for a call whose tool runs here; raises Unanswered."""
        key = f"{self._me.incarnation}-{next(self._numbers)}"
        answer = self._answers[key] = self._loop.create_future()
        aside = self._calls.setdefault(call, _Aside())
        self._put(aside, Question(key, method, params, self))
        self._broadcast(Asked(call, key, method, msgspec.Raw(msgspec.json.encode(params))))
        try:
            given: dict[str, Any] = await answer
            return given
        finally:
            del self._answers[key]
            self._withdraw(call, key)
            self._broadcast(Withdrawn(call, key))

    # What changed.

    def announce(self, kind: str, uri: str = "") -> None:
        """Say here and to the peers that something changed at a server of this node."""
        self.happened(kind, uri)
        self._broadcast(Happened(kind, uri))

    def want(self, uris: frozenset[str]) -> None:
        """Say which resources the clients of this node want to hear of."""
        self._uris[self._me] = tuple(sorted(uris))
        self._broadcast(Watched(self._uris[self._me]))
        self._watch_all()

    def met(self) -> Watched | None:
        """Return what a peer should be told that was met anew."""
        wanted = self._uris.get(self._me)
        return Watched(wanted) if wanted else None

    def lost(self, peer: NodeId) -> None:
        """Forget what a peer wanted, which is gone."""
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
                aside = self._calls.setdefault(message.call, _Aside())
                self._put(aside, Question(message.key, message.method, msgspec.json.decode(message.params), self))
                self._bound()
            case Answered():
                self._take_answer(message.key, message.result, message.error)
            case Withdrawn():
                self._withdraw(message.call, message.key)
            case Stop():
                self.stop(message.call)
            case Happened():
                self.happened(message.kind, message.uri)
            case Watched():
                self._uris[sender] = message.uris
                self._watch_all()

    # Within.

    @staticmethod
    def _tell_here(aside: _Aside, method: str, params: dict[str, Any]) -> None:
        for party in list(aside.parties):
            party.told(method, params)

    @staticmethod
    def _put(aside: _Aside, question: Question) -> None:
        aside.questions[question.key] = question
        for party in list(aside.parties):
            party.asked(question)

    def _withdraw(self, call: CallId, key: str) -> None:
        aside = self._calls.get(call)
        if aside is not None and aside.questions.pop(key, None) is not None:
            for party in list(aside.parties):
                party.withdrawn(key)
            self._tidy(call, aside)

    def _take_answer(self, key: str, result: Any, error: Any) -> bool:
        """Hand an answer to a tool that runs here; return False if none here asked so."""
        answer = self._answers.get(key)
        if answer is None:
            return False
        if not answer.done():
            if error is None:
                answer.set_result(dict(result or {}))
            else:
                answer.set_exception(Unanswered(error))
        return True

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
