"""Lines over descriptors of all kinds: whole and in order, however they come, and the loop never waits for them."""

import asyncio
import contextlib
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from semel.gateway.doors import lines
from semel.gateway.doors.lines import EASE_BYTES, Inlet, Outlet

from .pipes import PATIENCE_S, until

pytestmark = pytest.mark.anyio

Ends = tuple[int, int]
"""A descriptor to read from, and one to write to."""


@pytest.fixture(params=["pipe", "socket", "by a thread"])
def ends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    if request.param == "socket":
        one, other = socket.socketpair()
        found = one.detach(), other.detach()
    else:
        found = os.pipe()
    if request.param == "by a thread":
        monkeypatch.setattr(lines, "_kind", lambda _descriptor: None)
    yield found
    for descriptor in found:
        with contextlib.suppress(OSError):  # the test has closed it
            os.close(descriptor)


async def all_of(inlet: Inlet) -> list[bytes]:
    found = []
    async with asyncio.timeout(PATIENCE_S):
        while (line := await inlet.line()) is not None:
            found.append(line)
    return found


async def test_lines_are_whole_however_they_come(ends: Ends) -> None:
    inlet = Inlet(ends[0])
    taking = asyncio.ensure_future(all_of(inlet))
    for piece in (b"one\ntw", b"o\n\nth", b"re", b"e\r\nfour"):
        os.write(ends[1], piece)
        await until(lambda: not select.select([ends[0]], [], [], 0)[0], "the piece to be read")
    os.close(ends[1])
    assert await taking == [b"one", b"two", b"", b"three\r", b"four"]


async def test_whoever_writes_too_much_waits(ends: Ends) -> None:
    inlet = Inlet(ends[0])
    os.set_blocking(ends[1], False)
    os.write(ends[1], b"first\n")
    assert await inlet.line() == b"first"
    written = 0
    with contextlib.suppress(BlockingIOError):
        while written < 2**24:
            written += os.write(ends[1], b"x" * 63 + b"\n")
            await asyncio.sleep(0)  # so that it could be read
    assert written < 2**24
    os.close(ends[1])
    assert sum(len(line) + 1 for line in await all_of(inlet)) == written


async def test_long_lines_go_through_whole(ends: Ends) -> None:
    inlet, outlet = Inlet(ends[0]), Outlet(ends[1], gone=lambda: None)
    long = [bytes([65 + number]) * (number * EASE_BYTES) for number in range(6)]
    for line in long:
        outlet.write(line)
    async with asyncio.timeout(PATIENCE_S):
        assert [await inlet.line() for _ in long] == long
        await outlet.empty()
    inlet.end()
    outlet.close()


async def test_the_loop_goes_on_while_nobody_takes_what_is_written(ends: Ends) -> None:
    outlet = Outlet(ends[1], gone=lambda: None)
    await outlet.eased()
    outlet.write(b"x" * 2**22)
    waiting = asyncio.ensure_future(outlet.eased())
    for _ in range(100):
        await asyncio.sleep(0)
    assert not waiting.done()
    inlet = Inlet(ends[0])
    async with asyncio.timeout(PATIENCE_S):
        assert await inlet.line() == b"x" * 2**22
        await waiting
    inlet.end()
    outlet.close()


async def test_it_is_told_that_nobody_reads_any_more(ends: Ends) -> None:
    gone: list[bool] = []
    outlet = Outlet(ends[1], gone=lambda: gone.append(True))
    os.close(ends[0])
    outlet.write(b"x")
    await until(lambda: gone, "the news")
    outlet.write(b"y")
    async with asyncio.timeout(PATIENCE_S):
        await outlet.empty()  # there is nothing to be waited for
    outlet.close()


async def test_what_is_here_is_still_read_after_the_end(ends: Ends) -> None:
    inlet = Inlet(ends[0])
    os.write(ends[1], b"one\ntwo\nthr")
    async with asyncio.timeout(PATIENCE_S):
        assert await inlet.line() == b"one"
        inlet.end()
        assert await inlet.line() == b"two"
        assert await inlet.line() is None


async def test_the_flags_of_a_shared_descriptor_are_left_alone(ends: Ends) -> None:
    inlet, outlet = Inlet(ends[0]), Outlet(ends[1], gone=lambda: None)
    outlet.write(b"x")
    async with asyncio.timeout(PATIENCE_S):
        assert await inlet.line() == b"x"
    assert [os.get_blocking(descriptor) for descriptor in ends] == [True, True]
    inlet.end()
    outlet.close()


async def test_files_are_read_and_written(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(b"".join(b"%d\n" % number for number in range(20_000)) + b"last")
    with one.open("rb") as reads, other.open("wb") as writes:
        inlet, outlet = Inlet(reads.fileno()), Outlet(writes.fileno(), gone=lambda: None)
        async with asyncio.timeout(PATIENCE_S):
            while (line := await inlet.line()) is not None:
                outlet.write(line)
            await outlet.empty()
        outlet.close()
    assert other.read_bytes() == one.read_bytes() + b"\n"


async def test_nothing_is_read_from_nothing() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    assert await all_of(Inlet(nothing)) == []
    os.close(nothing)
