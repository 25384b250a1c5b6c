"""What passes beside the log: a question is answered once, on whichever node the answer comes in."""

from typing import Any

import msgspec
import pytest

from semel.core.call import CallId, NodeId
from semel.node.asides import Answered, AsideMessage, Asides, Asked, Question

pytestmark = pytest.mark.anyio

CALL = CallId("shop", "order-42")


class Waiting:
    """A party that notes its questions."""

    def __init__(self) -> None:
        self.questions: list[str] = []

    def told(self, method: str, params: dict[str, Any]) -> None: ...

    def asked(self, question: Question) -> None:
        self.questions.append(question.key)

    def withdrawn(self, key: str) -> None: ...


async def test_a_question_that_was_answered_here_is_not_put_again_before_the_node_that_asks_withdraws_it() -> None:
    sent: list[AsideMessage] = []
    asides = Asides(NodeId("n2", "life"), sent.append)
    asides.received(NodeId("n1", "life"), Asked(CALL, "q1", "roots/list", msgspec.Raw(b"{}")))
    first, again = Waiting(), Waiting()
    with asides.waiting(CALL, first):
        pass
    asides.answer("q1", result={"roots": []})
    with asides.waiting(CALL, again):
        pass
    assert (first.questions, again.questions) == (["q1"], [])
    assert sent == [Answered("q1", {"roots": []})]
