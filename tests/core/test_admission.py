"""The queue of calls that may begin, and the lanes in which one waits for the other."""

from semel.core.admission import Admission
from semel.core.call import CallId

LANES = {"a1": "a", "a2": "a", "a3": "a", "b1": "b", "b2": "b"}


def call(key: str) -> CallId:
    return CallId("ann", key)


def a_queue(*keys: str) -> Admission:
    queue = Admission()
    for key in keys:
        queue.join(call(key))
    return queue


def admit(queue: Admission, busy: set[str] | None = None) -> list[str]:
    """Admit as many as may begin, from lanes that are busy already."""
    lanes = set() if busy is None else busy
    admitted = []
    while (it := queue.admit(lambda it: LANES.get(it.key), lanes)) is not None:
        admitted.append(it.key)
    return admitted


def test_an_empty_queue_admits_nobody() -> None:
    assert admit(Admission()) == []
    assert not Admission()


def test_calls_without_a_lane_begin_in_the_order_of_their_arrival() -> None:
    queue = a_queue("x", "y", "z")
    assert len(queue) == 3
    assert admit(queue) == ["x", "y", "z"]
    assert len(queue) == 0


def test_one_call_of_a_lane_begins_and_the_others_wait_without_holding_up_the_queue() -> None:
    queue = a_queue("a1", "a2", "x", "b1", "a3")
    busy: set[str] = set()
    assert admit(queue, busy) == ["a1", "x", "b1"]
    assert busy == {"a", "b"}


def test_a_lane_that_is_busy_already_lets_nobody_begin() -> None:
    queue = a_queue("a1", "b1")
    assert admit(queue, {"a"}) == ["b1"]


def test_when_a_lane_is_free_its_calls_compete_again_in_their_order() -> None:
    queue = a_queue("a1", "a2", "a3")
    assert admit(queue) == ["a1"]
    queue.join(call("x"))
    queue.wake(set())
    assert admit(queue) == ["a2", "x"]
    queue.wake(set())
    assert admit(queue) == ["a3"]
    queue.wake(set())
    assert admit(queue) == []


def test_calls_of_a_lane_that_is_busy_stay_aside() -> None:
    queue = a_queue("a1", "b1", "b2", "a2")
    assert admit(queue) == ["a1", "b1"]
    queue.wake({"a"})
    assert admit(queue, {"a"}) == ["b2"]


def test_a_queue_with_none_but_calls_aside_is_not_empty() -> None:
    queue = a_queue("a1", "a2")
    assert admit(queue) == ["a1"]
    assert queue


def test_calls_admitted_in_vain_come_first_again() -> None:
    queue = a_queue("x", "y", "z")
    busy: set[str] = set()
    first = [queue.admit(lambda _: None, busy) for _ in range(2)]
    queue.put_back([it for it in first if it is not None])
    assert admit(queue) == ["x", "y", "z"]


def test_a_cleared_queue_has_forgotten_those_set_aside_as_well() -> None:
    queue = a_queue("a1", "a2", "x")
    queue.admit(lambda it: LANES.get(it.key), {"a"})
    queue.clear()
    assert not queue
    queue.wake(set())
    assert admit(queue) == []
