"""The laws of `semel.log.protocol`, held against every engine."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import cast

import pytest

from semel.errors import Conflict, LogDamaged, LogTrimmed
from semel.log.limits import BATCH_BYTES_MAX, BATCH_ENTRIES_MAX, ENTRY_BYTES_MAX
from semel.log.protocol import Batch, Log

pytestmark = pytest.mark.anyio

Entries = Callable[..., Awaitable[list[bytes]]]


async def test_an_empty_log_ends_at_position_0(log: Log) -> None:
    assert await log.tail() == 0


async def test_positions_are_dense_from_1(log: Log, entries: Entries) -> None:
    assert await log.append(0, [b"a"]) == 1
    assert await log.append(1, [b"b", b"c"]) == 3
    assert await log.append(3, [b"d"]) == 4
    assert await entries(log, 4) == [b"a", b"b", b"c", b"d"]


async def test_an_append_after_a_taken_position_conflicts_and_writes_nothing(
    log: Log, other: Log, entries: Entries
) -> None:
    await log.append(0, [b"a", b"b"])
    with pytest.raises(Conflict):
        await other.append(1, [b"x", b"y", b"z"])
    assert await log.tail() == 2
    assert await entries(other, 2) == [b"a", b"b"]


async def test_an_append_beyond_the_tail_conflicts(log: Log) -> None:
    await log.append(0, [b"a"])
    with pytest.raises(Conflict):
        await log.append(2, [b"c"])
    assert await log.tail() == 1


async def test_the_same_append_again_returns_the_same_position_and_writes_nothing(log: Log, other: Log) -> None:
    assert await log.append(0, [b"a", b"b"]) == 2
    assert await other.append(0, [b"a", b"b"]) == 2
    assert await other.append(2, [b"c"]) == 3
    assert await log.append(0, [b"a", b"b"]) == 2
    assert await log.tail() == 3


async def test_an_append_that_stands_in_part_only_conflicts(log: Log) -> None:
    await log.append(0, [b"a", b"b"])
    with pytest.raises(Conflict):
        await log.append(0, [b"a", b"b", b"c"])
    with pytest.raises(Conflict):
        await log.append(0, [b"a", b"x"])
    assert await log.tail() == 2


async def test_an_append_that_was_cancelled_is_decided_by_proposing_it_again(log: Log, entries: Entries) -> None:
    proposal = asyncio.ensure_future(log.append(0, [b"a"]))
    await asyncio.sleep(0)
    proposal.cancel()
    assert await log.append(0, [b"a"]) == 1
    assert await log.append(1, [b"b"]) == 2
    assert await entries(log, 2) == [b"a", b"b"]


async def test_of_many_appends_after_one_position_one_wins(log: Log, other: Log, entries: Entries) -> None:
    proposals = [handle.append(0, [b"%d" % number]) for number in range(10) for handle in (log, other)]
    outcomes = await asyncio.gather(*proposals, return_exceptions=True)
    winners = {number // 2 for number, outcome in enumerate(outcomes) if outcome == 1}
    assert len(winners) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 18
    assert await entries(log, 1) == [b"%d" % winners.pop()]


async def test_any_bytes_are_an_entry(log: Log, other: Log, entries: Entries) -> None:
    anything = [b"", bytes(range(256)), b"\0", b"'; DROP TABLE entries; --"]
    await log.append(0, anything)
    assert await entries(other, len(anything)) == anything


async def test_an_entry_of_the_greatest_size_is_kept_whole(log: Log, other: Log, entries: Entries) -> None:
    greatest = bytes(range(256)) * (ENTRY_BYTES_MAX // 256)
    assert await log.append(0, [greatest]) == 1
    assert await entries(other, 1) == [greatest]


async def test_a_follower_starts_after_any_position(log: Log, other: Log, entries: Entries) -> None:
    everything = [b"%d" % number for number in range(1, 8)]
    await log.append(0, everything)
    for after in range(7):
        assert await entries(other, 7 - after, after=after) == everything[after:]


async def test_a_follower_waits_for_what_is_not_there_yet(log: Log, other: Log) -> None:
    batches = other.follow(0)
    for number in range(30):
        async with asyncio.timeout(10):
            following = asyncio.ensure_future(anext(batches))
            await asyncio.sleep(0)  # it has begun to wait
            await log.append(number, [b"%d" % number])
            assert await following == Batch(number + 1, [b"%d" % number])


async def test_every_follower_sees_every_entry(log: Log, other: Log, entries: Entries) -> None:
    followed = [asyncio.ensure_future(entries(handle, 20)) for handle in (log, other) * 4]
    for number in range(20):
        await (log, other)[number % 2].append(number, [b"%d" % number])
    for entries_seen in await asyncio.gather(*followed):
        assert entries_seen == [b"%d" % number for number in range(20)]


async def test_batches_are_bounded_by_count(log: Log, entries: Entries) -> None:
    many = [b"%d" % number for number in range(2 * BATCH_ENTRIES_MAX + 1)]
    await log.append(0, many)
    assert len((await _first_batch(log, after=0)).entries) == BATCH_ENTRIES_MAX
    assert await entries(log, len(many)) == many


async def test_batches_are_bounded_by_bytes(log: Log, entries: Entries) -> None:
    large = [bytes([number]) * (BATCH_BYTES_MAX // 4) for number in range(20)]
    await log.append(0, large)
    assert len((await _first_batch(log, after=0)).entries) == 4
    assert await entries(log, len(large)) == large


async def test_following_from_beyond_the_end_says_that_entries_are_missing(log: Log) -> None:
    await log.append(0, [b"a"])
    with pytest.raises(LogDamaged, match="ends at position 1"):
        await _first_batch(log, after=5)


async def test_a_follower_that_is_closed_stops(log: Log) -> None:
    batches = cast(AsyncGenerator[Batch, None], log.follow(0))
    await log.append(0, [b"a"])
    await anext(batches)
    await batches.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(batches)


async def test_a_waiting_follower_that_is_cancelled_stops_and_leaves_the_log_usable(log: Log, entries: Entries) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await _first_batch(log, after=0)
    await log.append(0, [b"a"])
    assert await entries(log, 1) == [b"a"]


async def test_the_tail_sees_every_append_that_returned(log: Log, other: Log) -> None:
    for number in range(50):
        await log.append(number, [b"x"])
        assert await other.tail() == number + 1


async def test_a_trim_forgets_what_is_below_and_moves_nothing(log: Log, other: Log, entries: Entries) -> None:
    await _append_each(log, [b"a", b"b", b"c", b"d"])
    await log.trim(3)
    assert await other.tail() == 4
    assert await entries(other, 2, after=2) == [b"c", b"d"]
    assert await other.append(4, [b"e"]) == 5


async def test_following_from_what_was_trimmed_away_says_so(log: Log, other: Log) -> None:
    await _append_each(log, [b"a", b"b", b"c", b"d"])
    await log.trim(3)
    for after in (0, 1):
        with pytest.raises(LogTrimmed, match="trimmed"):
            await _first_batch(other, after=after)


async def test_a_follower_that_is_overtaken_by_a_trim_says_so_or_goes_on_without_a_gap(log: Log) -> None:
    await log.append(0, [b"x"] * BATCH_ENTRIES_MAX)
    batches = log.follow(0)
    await anext(batches)
    await log.append(BATCH_ENTRIES_MAX, [b"y"] * 3)
    await log.append(BATCH_ENTRIES_MAX + 3, [b"z"])
    await log.trim(BATCH_ENTRIES_MAX + 4)
    try:
        batch = await anext(batches)
    except LogTrimmed:
        pass
    else:  # it had them in hand already
        assert batch.first == BATCH_ENTRIES_MAX + 1


async def test_a_trim_past_the_end_keeps_the_last_entry(log: Log, other: Log, entries: Entries) -> None:
    await _append_each(log, [b"a", b"b", b"c"])
    await log.trim(99)
    assert await other.tail() == 3
    assert await entries(other, 1, after=2) == [b"c"]
    assert await other.append(3, [b"d"]) == 4


async def test_a_trim_of_an_empty_log_and_a_trim_of_nothing_are_harmless(log: Log, entries: Entries) -> None:
    await log.trim(5)
    assert await log.append(0, [b"a", b"b"]) == 2
    for before in (-1, 0, 1):
        await log.trim(before)
    assert await entries(log, 2) == [b"a", b"b"]


async def test_a_trim_may_be_repeated_and_never_goes_back(log: Log, other: Log, entries: Entries) -> None:
    await log.append(0, [b"x"] * 3500)
    await log.trim(3400)
    await other.trim(3400)
    await other.trim(5)
    assert await log.tail() == 3500
    assert await entries(other, 101, after=3399) == [b"x"] * 101


async def test_the_first_entry_is_known_for_ever(log: Log, other: Log) -> None:
    assert await log.first() is None
    await _append_each(log, [b"a", b"b", b"c"])
    assert await other.first() == b"a"
    await log.trim(3)
    assert await other.first() == b"a"
    await log.append(3, [b"d"])
    await log.trim(99)
    assert await log.first() == b"a"


async def test_entries_stored_together_may_outlive_a_trim_together_but_never_with_a_gap(
    log: Log, entries: Entries
) -> None:
    await _append_each(log, [b"a", b"b"])
    await log.append(2, [b"c", b"d", b"e", b"f"])
    await log.trim(5)
    assert await entries(log, 2, after=4) == [b"e", b"f"]
    with pytest.raises(LogTrimmed, match="trimmed"):
        await _first_batch(log, after=1)


async def test_an_empty_log_can_go_on_after_a_position(log: Log, other: Log, entries: Entries) -> None:
    await log.begin_after(b"first", 10, b"k")
    assert await other.tail() == 11
    assert await other.first() == b"first"
    assert await entries(other, 1, after=10) == [b"k"]
    for after in (0, 1, 9):
        with pytest.raises(LogTrimmed, match="trimmed"):
            await _first_batch(other, after=after)
    assert await other.append(11, [b"l"]) == 12
    await log.trim(12)
    assert await log.first() == b"first"
    assert await entries(log, 1, after=11) == [b"l"]


async def test_a_follower_of_an_empty_log_is_told_that_it_begins_later(log: Log, other: Log) -> None:
    following = asyncio.ensure_future(_first_batch(other, after=0))
    await asyncio.sleep(0)  # it has begun to wait
    await log.begin_after(b"first", 10, b"k")
    with pytest.raises(LogTrimmed, match="trimmed"):
        await following


async def test_a_log_that_is_not_empty_does_not_begin_again(log: Log, other: Log, entries: Entries) -> None:
    await log.append(0, [b"a"])
    with pytest.raises(Conflict):
        await other.begin_after(b"first", 10, b"k")
    assert await entries(log, 1) == [b"a"]
    assert await log.first() == b"a"


async def test_an_append_that_is_proposed_again_after_a_trim_took_it_is_not_written_twice(log: Log) -> None:
    await _append_each(log, [b"a"])
    await log.append(1, [b"b", b"c"])
    await log.append(3, [b"d"])
    await log.trim(4)
    with pytest.raises(Conflict):
        await log.append(1, [b"b", b"c"])
    assert await log.append(3, [b"d"]) == 4
    assert await log.tail() == 4


async def test_a_pulse_is_seen_by_others_until_its_node_retires(log: Log, other: Log) -> None:
    assert await other.pulses() == {}
    await log.pulse("a", b"1")
    await log.pulse("b", b"1")
    await log.pulse("a", b"2")
    assert await other.pulses() == {"a": b"2", "b": b"1"}
    await log.retire("a")
    await log.retire("never there")
    assert await other.pulses() == {"b": b"1"}


@pytest.mark.parametrize("node", ["a/b", "..", ".", "Ünïcode ✓", "a.beat", "%2F", ""])
async def test_a_node_of_any_name_can_pulse(log: Log, other: Log, node: str) -> None:
    await log.pulse(node, b"beat")
    assert await other.pulses() == {node: b"beat"}


async def test_closing_twice_is_harmless(log: Log, other: Log) -> None:
    await log.append(0, [b"a"])
    await log.close()
    await log.close()
    await other.close()


async def _first_batch(log: Log, *, after: int) -> Batch:
    async with asyncio.timeout(10):
        return await anext(log.follow(after))


async def _append_each(log: Log, entries: list[bytes]) -> None:
    for after, entry in enumerate(entries, await log.tail()):
        await log.append(after, [entry])
