"""The relay passes on, refuses when it is cut, and stalls when it is silent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.chaos.relay import Relay
from tests.ports import free_port

pytestmark = pytest.mark.anyio

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
    writer.close()


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    """A relay to a server that says again what it is told."""
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    relay = Relay(free_port(), server.sockets[0].getsockname()[1])
    await relay.start()
    yield relay
    await relay.close()
    server.close()


async def say(streams: Streams, line: bytes) -> bytes:
    streams[1].write(line)
    return await asyncio.wait_for(streams[0].readline(), 10)


async def test_what_is_said_passes(relay: Relay) -> None:
    streams = await asyncio.open_connection("127.0.0.1", relay.port)
    assert await say(streams, b"hello\n") == b"hello\n"
    streams[1].close()


async def test_a_cut_breaks_connections_and_refuses_new_ones_until_it_is_mended(relay: Relay) -> None:
    streams = await asyncio.open_connection("127.0.0.1", relay.port)
    assert await say(streams, b"hello\n") == b"hello\n"
    relay.cut()
    with contextlib.suppress(ConnectionResetError):
        assert await asyncio.wait_for(streams[0].readline(), 10) == b""
    streams[1].close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", relay.port)
    await relay.start()
    streams = await asyncio.open_connection("127.0.0.1", relay.port)
    assert await say(streams, b"again\n") == b"again\n"
    streams[1].close()


async def test_in_silence_connections_stay_and_nothing_passes_until_it_ends(relay: Relay) -> None:
    streams = await asyncio.open_connection("127.0.0.1", relay.port)
    assert await say(streams, b"hello\n") == b"hello\n"
    with relay.silent():
        streams[1].write(b"again\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(streams[0].readline(), 0.2)
    assert await asyncio.wait_for(streams[0].readline(), 10) == b"again\n"
    streams[1].close()
