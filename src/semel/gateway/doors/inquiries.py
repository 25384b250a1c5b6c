"""Requests that are no calls, at a node: prompts, resources and the like, whose server may ask in the middle of one.

They are not in the log, and change nothing. A client of 2026-07-28 gets such a question as the answer to its request,
with a ticket, and comes again with its reply. Meanwhile the request stays open here, and goes on if the reply comes
here. To any other node, and to this one if the request is not open any more, the ticket says all that it takes to begin
it anew: what was answered already is answered again, and nobody is asked twice. So what is open may be lost at any
time, and nodes need not know of each other's.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import msgspec
from mcp_types.methods import is_input_required

from semel.core.call import digest_of
from semel.errors import BadTicket
from semel.gateway import meta
from semel.gateway.doors.asked import Context, call_meta, check_text, find_caller
from semel.gateway.doors.hearing import Hearing
from semel.gateway.doors.ticket import Answer, Error, InquiryTicket
from semel.node.asides import Question
from semel.node.backend import Backend

INTERACTIVE = frozenset({"prompts/get", "resources/read"})
"""What MCP 2026-07-28 lets a server answer with a question, beside calls."""

LEFT_MAX = 16
"""Requests that stay open while their clients have a question; over it, the oldest ends. Each keeps a connection to its
server, and those are 32 for all clients: half of them are left to those who are there. A request's own time limit, a
minute, counts the waiting, so that none stays for longer."""

_Answers = Mapping[str, list[Answer]]
"""What questions were answered with, by the digests of the questions: each time that one was asked, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """A request that is no call.

    `params` are what its server is told, `_meta` included; `state` and `replies` are its `requestState` and its
    `inputResponses`, and `refused` the errors in the place of replies.
    """

    method: str
    params: Mapping[str, Any]
    caller: str
    state: str | None = None
    replies: Mapping[str, Any] | None = None
    refused: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, context: Context) -> "Inquiry":
        """Return the request that a client makes.

        Raises:
            BadKey: the caller is not a string.
            BadArguments: it is no text that could be passed on.
        """
        params = dict(context.params or {})
        refused = (context.meta or {}).get(meta.REFUSED)
        check_text([params, refused])
        state, replies = params.pop("requestState", None), params.pop("inputResponses", None)
        params["_meta"] = call_meta(context)
        return cls(
            method=context.method,
            params=params,
            caller=find_caller(context),
            state=state,
            replies=replies,
            refused=refused if isinstance(refused, dict) else {},
        )

    def following(self, state: str | None, replies: Mapping[str, Any] | None, refused: Mapping[str, Any]) -> "Inquiry":
        """Return the request that goes on with this one."""
        return replace(self, state=state, replies=replies, refused=refused)

    def said(self) -> dict[str, Any]:
        """Return its parameters as they go over the wire."""
        more = {"requestState": self.state, "inputResponses": self.replies}
        return {**self.params, **{name: value for name, value in more.items() if value is not None}}

    @property
    def about(self) -> str:
        """A digest of what is asked for, which is the same each time that its client comes again."""
        return digest_of(self.method, {name: value for name, value in self.params.items() if name != "_meta"})


class Inquiries:
    """All such requests at one node; in the event loop of its door."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._left: OrderedDict[str, _Open] = OrderedDict()
        """Those whose clients have a question and are away, by the words in their tickets; the oldest first."""

    async def ask(self, inquiry: Inquiry, hearing: Hearing) -> dict[str, Any]:
        """Return what the node's servers answer, or an InputRequiredResult.

        Raises:
            Unanswered: the answer is an error.
            BadTicket: the `requestState` is no ticket, or was given for another request or caller.
        """
        if inquiry.method not in INTERACTIVE:
            return await self._backend.ask(inquiry.method, inquiry.said(), hearing)
        ticket = _ticket(inquiry)
        given = _given(ticket, inquiry)
        answers = _added(ticket, given)
        going = self._taken(ticket)
        if going is None:
            going = self._begin(inquiry, ticket, answers)
        else:
            going.answer(given)
        try:
            if await going.ends(hearing):
                return _wrapped(going.work.result(), ticket, answers)
            self._leave(going)
        except BaseException:
            going.work.cancel()
            raise
        return going.asking(answers)

    def _begin(self, inquiry: Inquiry, ticket: InquiryTicket, answers: _Answers) -> "_Open":
        """Begin a request, or begin it anew; what its server itself gave to go on with goes back to it."""
        server_asked = ticket.why == "wants"
        said = inquiry.following(ticket.state, inquiry.replies if server_asked else None, {}).said()
        going = _Open(ticket, answers)
        going.work = asyncio.ensure_future(self._backend.ask(inquiry.method, said, going))
        return going

    def _taken(self, ticket: InquiryTicket) -> "_Open | None":
        """Return the open request that a ticket names, None if there is none here that is its bearer's."""
        left = self._left.get(ticket.word)
        if left is None or not left.is_of(ticket):
            return None
        del self._left[left.word]
        return left

    def _leave(self, left: "_Open") -> None:
        """Keep a request open while its client is away."""

        def forget(work: "asyncio.Future[dict[str, Any]]") -> None:
            if self._left.get(left.word) is left:
                del self._left[left.word]
            if not work.cancelled():
                work.exception()  # its client finds it gone, and begins anew

        self._left[left.word] = left
        left.work.add_done_callback(forget)
        while len(self._left) > LEFT_MAX:
            self._left.popitem(last=False)[1].work.cancel()


class _Open:
    """A request that its server is at; a `Party` to it, whether its client is there or away."""

    work: "asyncio.Future[dict[str, Any]]"

    def __init__(self, ticket: InquiryTicket, answers: _Answers) -> None:
        self.word = secrets.token_hex(16)
        self._ticket = ticket
        self._known = {which: list(each) for which, each in answers.items()}
        """What is answered again as it is asked again."""
        self._questions: dict[str, Question] = {}
        self._hearing: Hearing | None = None

    def is_of(self, ticket: InquiryTicket) -> bool:
        """Return whether it is what a ticket's bearer asked for."""
        return (self._ticket.caller, self._ticket.about) == (ticket.caller, ticket.about)

    def answer(self, given: Mapping[str, Answer]) -> None:
        """Answer questions by their keys; those that are not open any more need no answer."""
        for key, answer in given.items():
            if (question := self._questions.pop(key, None)) is not None:
                question.answer(**answer)

    async def ends(self, hearing: Hearing) -> bool:
        """Wait with a client until the request has ended, or the client must be asked; return whether it has ended."""
        self._hearing = hearing
        try:
            for question in list(self._questions.values()):
                hearing.asked(question)
            while not self.work.done() and not hearing.questions:
                await hearing.until_called(self.work)
            return self.work.done()
        finally:
            self._hearing = None

    def asking(self, answers: _Answers) -> dict[str, Any]:
        """Return an InputRequiredResult with what its server asks."""
        questions = {key: _digest(each) for key, each in self._questions.items()}
        ticket = msgspec.structs.replace(
            self._ticket, why="asks", word=self.word, questions=questions, answers=dict(answers)
        )
        asked_for = {key: {"method": each.method, "params": each.params} for key, each in self._questions.items()}
        return {"resultType": "input_required", "inputRequests": asked_for, "requestState": ticket.text()}

    # What its server says and asks (a `Party`).

    def told(self, method: str, params: dict[str, Any]) -> None:
        """Take a notification."""
        if self._hearing is not None:
            self._hearing.told(method, params)

    def asked(self, question: Question) -> None:
        """Take a question."""
        if known := self._known.get(_digest(question)):
            question.answer(**known.pop(0))
            return
        self._questions[question.key] = question
        if self._hearing is not None:
            self._hearing.asked(question)

    def withdrawn(self, key: str) -> None:
        """Note that a question needs no answer any more."""
        self._questions.pop(key, None)
        if self._hearing is not None:
            self._hearing.withdrawn(key)


def _ticket(inquiry: Inquiry) -> InquiryTicket:
    """Return what a request brings to go on with, or a ticket with nothing in it.

    Raises:
        BadTicket: it is none, or was given for another request or to another caller.
    """
    mine = InquiryTicket(caller=inquiry.caller, about=inquiry.about, why="wants")
    if inquiry.state is None:
        return mine
    ticket = InquiryTicket.read(inquiry.state)
    if ticket.caller != mine.caller:
        raise BadTicket("the requestState was given to another caller. Nothing was asked")
    if ticket.about != mine.about:
        raise BadTicket("the requestState was given for another request. Nothing was asked")
    return ticket


def _given(ticket: InquiryTicket, inquiry: Inquiry) -> dict[str, Answer]:
    """Return what a request brings in answer to the questions that its ticket holds, by their keys."""
    given: dict[str, Answer] = {}
    for key in ticket.questions:
        if isinstance(reply := (inquiry.replies or {}).get(key), dict):
            given[key] = {"result": reply}
        elif _is_error(error := inquiry.refused.get(key)):
            given[key] = {"error": error}
    return given


def _is_error(said: object) -> TypeGuard[Error]:
    return isinstance(said, dict) and isinstance(said.get("code"), int) and isinstance(said.get("message"), str)


def _added(ticket: InquiryTicket, given: Mapping[str, Answer]) -> _Answers:
    """Return all answers so far."""
    answers = {which: list(each) for which, each in ticket.answers.items()}
    for key, answer in given.items():
        answers.setdefault(ticket.questions[key], []).append(answer)
    return answers


def _wrapped(result: dict[str, Any], ticket: InquiryTicket, answers: _Answers) -> dict[str, Any]:
    """Return a server's result; what it gives to go on with, where it asks for more, is in a ticket of ours."""
    if not is_input_required(result):
        return result
    following = msgspec.structs.replace(
        ticket, why="wants", state=result.get("requestState"), word="", questions={}, answers=dict(answers)
    )
    return {**result, "requestState": following.text()}


def _digest(question: Question) -> str:
    """Return what a question is told by when it is asked again; what passes beside it in `_meta` is of one time."""
    return digest_of(question.method, {name: value for name, value in question.params.items() if name != "_meta"})
