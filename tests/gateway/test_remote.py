"""HTTP servers: what breaks in mid-call is lost and never sent again; what never arrived is; the rest is an answer."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from mcp.server.mcpserver import Context, MCPServer

from semel.core.call import Status
from semel.errors import UpstreamError
from semel.gateway.doors.http import serve_http
from semel.gateway.upstreams import courier
from semel.gateway.upstreams.target import load_target
from semel.gateway.upstreams.toolbox import McpToolbox
from semel.node.tools import Done, Gone

from .conftest import Write
from .fakes import attempt, text, told
from .http_upstream import Scripted, scripted

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def toolbox(write: Write, **servers: dict[str, Any]) -> AsyncIterator[McpToolbox]:
    file = write("", "mcp.json")
    file.write_text(json.dumps({"mcpServers": servers}))
    box = McpToolbox(load_target(str(file)))
    await box.start()
    try:
        yield box
    finally:
        await box.close()


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with scripted() as running:
        yield running


@pytest.fixture
async def box(server: Scripted, write: Write) -> AsyncIterator[McpToolbox]:
    async with toolbox(write, far={"type": "http", "url": server.url, "headers": {"X-Token": "abc"}}) as opened:
        yield opened


async def test_a_call_reaches_a_server_with_its_key_and_the_configured_headers(
    box: McpToolbox, server: Scripted
) -> None:
    end = await box.run(attempt("ok"))
    assert told(end)["structuredContent"]["dev.semel/idempotency-key"] == "order-42"
    assert {headers["x-token"] for headers in server.headers} == {"abc"}
    assert text(await box.run(attempt("stream_ok"))) == "stream_ok"


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ("hang_up", "Server disconnected|Connection reset|ReadError|RemoteProtocolError"),
        ("half", "peer closed connection"),
        ("stream_cut", "the server ended the stream before it answered"),
        ("wrong_id", "no answer to this request"),
        ("garbage", "no answer to this request"),
        ("accepted", "no answer to this request"),
        ("bad_gateway", "HTTP 502 Bad Gateway"),
    ],
)
async def test_a_call_whose_answer_cannot_come_is_lost_and_not_sent_again(
    box: McpToolbox, server: Scripted, tool: str, said: str
) -> None:
    slow = asyncio.create_task(box.run(attempt("slow", timeout_s=60)))
    end = await box.run(attempt(tool))
    assert isinstance(end, Gone), end
    assert "the connection to the server 'far' broke during the call: " in end.reason
    assert pytest.raises(AssertionError, match=said).matches(AssertionError(end.reason)), end.reason
    assert server.called.count(tool) == 1
    assert text(await box.run(attempt("ok"))) == "ok"
    assert not slow.done()  # one that breaks takes no other with it
    slow.cancel()


@pytest.mark.parametrize(
    ("tool", "said"),
    [
        ("unauthorized", "unauthorized failed: HTTP 401 Unauthorized"),
        ("own_error", "own_error failed: out of paper (protocol error -32000)"),
    ],
)
async def test_what_a_server_answers_is_the_outcome(box: McpToolbox, tool: str, said: str) -> None:
    end = await box.run(attempt(tool))
    assert isinstance(end, Done)
    assert end.status is Status.ERROR
    assert said in text(end)


async def test_a_redirect_to_another_host_is_not_followed(box: McpToolbox, server: Scripted) -> None:
    async with scripted() as other:
        server.elsewhere = other.url
        assert "not followed" in text(await box.run(attempt("elsewhere")))
        assert other.headers == []


async def test_a_call_whose_stream_cannot_be_resumed_is_lost_and_not_sent_again(
    box: McpToolbox, server: Scripted
) -> None:
    port = server.port
    running = asyncio.create_task(box.run(attempt("stream_resumable")))
    await asyncio.wait_for(server.streaming.wait(), 10)
    await server.go()  # so that the rest is asked for where nobody listens
    assert isinstance(await running, Gone)
    await server.listen(port)
    assert text(await box.run(attempt("ok"))) == "ok"
    assert server.called == ["stream_resumable", "ok"]


@pytest.mark.parametrize("tool", ["forgotten", "forgotten_in_words"])
async def test_a_session_that_the_server_has_forgotten_is_opened_anew_and_the_call_runs_there(
    box: McpToolbox, server: Scripted, tool: str
) -> None:
    assert text(await box.run(attempt(tool))) == tool
    assert {headers.get("mcp-session-id") for headers in server.headers} == {None, "session-1", "session-2"}


async def test_a_call_waits_for_a_server_that_is_down_and_runs_once_it_is_back(
    box: McpToolbox, server: Scripted
) -> None:
    port = server.port
    await server.go()
    end = await box.run(attempt("ok", timeout_s=0.5))
    assert isinstance(end, Done)
    assert "ok never started" in text(end)
    assert any("'far'" in remark and "cannot be reached" in remark for remark in box.remarks())
    waiting = asyncio.create_task(box.run(attempt("ok")))
    await asyncio.sleep(0)
    await server.listen(port)
    assert text(await waiting) == "ok"
    assert server.called == ["ok"]
    assert box.remarks() == []


async def test_a_call_past_its_time_limit_is_cancelled_at_the_server(box: McpToolbox, server: Scripted) -> None:
    end = await box.run(attempt("slow", timeout_s=0.3))
    assert isinstance(end, Done)
    assert end.status is Status.TIMED_OUT
    async with asyncio.timeout(10):
        while not server.cancelled:
            await asyncio.sleep(0.01)
    assert text(await box.run(attempt("ok"))) == "ok"


async def test_an_answer_longer_than_semel_takes_is_lost(box: McpToolbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "BODY_BYTES_MAX", 10)
    end = await box.run(attempt("ok"))
    assert isinstance(end, Gone)
    assert "longer than semel takes" in end.reason


async def test_a_server_that_is_not_there_is_named_without_its_secrets(write: Write, server: Scripted) -> None:
    await server.go()
    with pytest.raises(UpstreamError, match="cannot be reached") as caught:
        async with toolbox(write, far={"url": f"http://me:secret@127.0.0.1:{server.port}/mcp?token=secret"}):
            pass
    assert f"http://127.0.0.1:{server.port}/mcp" in str(caught.value)
    assert "secret" not in str(caught.value)
    await server.listen()


def certificate(folder: Path) -> Path:
    """Write a key and a certificate that nobody has signed into one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    form = serialization.PrivateFormat.PKCS8
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    )
    return file


async def test_a_certificate_that_nobody_has_signed_is_refused(write: Write, tmp_path: Path) -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate(tmp_path))
    async with scripted(tls) as server:
        with pytest.raises(UpstreamError, match=r"cannot be reached: .*[cC]ertificate"):
            async with toolbox(write, far={"url": server.url}):
                pass
        assert server.headers == []


async def test_a_server_of_the_newest_version_is_served_and_its_changes_are_heard(write: Write) -> None:
    app = MCPServer("modern", log_level="CRITICAL")

    @app.tool()
    def add(a: int, b: int) -> int:
        return a + b

    @app.tool()
    async def grow(context: Context) -> str:
        app.add_tool(add, name="add_again")
        await context.notify_tools_changed()
        return "grown"

    async with (
        serve_http(app.streamable_http_app(), "127.0.0.1", 0) as port,
        toolbox(write, far={"type": "streamable-http", "url": f"http://127.0.0.1:{port}/mcp"}) as box,
    ):
        assert told(await box.run(attempt("add", {"a": 1, "b": 2})))["structuredContent"] == {"result": 3}
        changed = asyncio.Event()
        loop = asyncio.get_running_loop()
        box.on_event = lambda _kind, _uri: loop.call_soon_threadsafe(changed.set)
        assert text(await box.run(attempt("grow"))) == "grown"
        await asyncio.wait_for(changed.wait(), 10)
        assert told(await box.run(attempt("add_again", {"a": 1, "b": 2})))["structuredContent"] == {"result": 3}
