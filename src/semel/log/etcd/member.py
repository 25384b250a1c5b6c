"""One member of etcd: its connection and its calls; it knows neither the other members nor what is asked for.

gRPC's calls end in threads of its own, from where they are handed to the event loop. (`grpc.aio` does that as well,
but all event loops of a process share one queue there: what is left of a closed loop's calls ends up in another's.)
"""

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeAlias

import grpc
from aetcd.rpc import rpc_pb2_grpc as services

from semel.crossing import settling, way_to
from semel.deadlines import Deadlines
from semel.errors import LogError
from semel.log.etcd.address import EtcdAddress

Method: TypeAlias = Literal[
    "range", "put", "delete", "txn", "compact", "grant", "status", "defragment", "alarm", "authenticate"
]

RECONNECT_FIRST_MS = 50
RECONNECT_MOST_MS = 500
"""gRPC's own pauses between attempts to connect grow to two minutes: a restarted member would stay unseen so long."""
CONNECT_MS = 1000
"""An attempt to connect is given up after this time; on a LAN it takes a millisecond, around the world a quarter."""
PING_EVERY_MS = 10_000
PING_ANSWERED_MS = 3_000
"""A connection that died without a word is noticed by pings. etcd cuts clients that ping more often than every 5 s."""

ANSWERS_WAITING_MOST = 16
"""A stream is not read on while so many answers wait to be taken: they may have a megabyte each."""

RpcError = grpc.RpcError
"""What gRPC raises: a status of etcd, or of the way to it."""

_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", RECONNECT_FIRST_MS),
    ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
    ("grpc.max_reconnect_backoff_ms", RECONNECT_MOST_MS),
    ("grpc.keepalive_time_ms", PING_EVERY_MS),
    ("grpc.keepalive_timeout_ms", PING_ANSWERED_MS),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # two logs in one process share no connection
    ("grpc.enable_http_proxy", 0),  # a proxy for the web is no way to a database
)


class Member:
    """A member at `host:port`; it connects when it is first asked, and again when cut. Used in one event loop."""

    def __init__(self, endpoint: str, credentials: grpc.ChannelCredentials | None) -> None:
        self.endpoint = endpoint
        self.fit = False
        """Whether it was seen to be a member of the right cluster, of a version that can be trusted."""
        if credentials is None:
            self._channel = grpc.insecure_channel(endpoint, options=_OPTIONS)
        else:
            self._channel = grpc.secure_channel(endpoint, credentials, options=_OPTIONS)
        kv = services.KVStub(self._channel)
        maintenance = services.MaintenanceStub(self._channel)
        self._calls: dict[Method, Any] = {
            "range": kv.Range,
            "put": kv.Put,
            "delete": kv.DeleteRange,
            "txn": kv.Txn,
            "compact": kv.Compact,
            "grant": services.LeaseStub(self._channel).LeaseGrant,
            "status": maintenance.Status,
            "defragment": maintenance.Defragment,
            "alarm": maintenance.Alarm,
            "authenticate": services.AuthStub(self._channel).Authenticate,
        }
        self._watch = services.WatchStub(self._channel).Watch
        self._closed = False

    async def ask(self, method: Method, request: Any, *, within_s: float, token: str | None) -> Any:
        """Send a request and return its answer; raises `RpcError`, also when the connection is closed meanwhile."""
        loop = asyncio.get_running_loop()
        back, answered = way_to(loop), loop.create_future()

        def tell(call: Any) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                back.call(settling(answered, call.result))

        if self._closed:
            raise LogError(f"the connection to etcd at {self.endpoint} is closed")
        call = self._calls[method].future(request, timeout=within_s, metadata=_metadata(token))
        call.add_done_callback(tell)
        try:
            return await answered
        finally:
            call.cancel()  # which does nothing to a call that is done

    def watch(self, request: Any, *, token: str | None) -> "Stream":
        """Open a stream of events, which ends if the member loses sight of the leader."""
        if self._closed:
            raise LogError(f"the connection to etcd at {self.endpoint} is closed")
        return Stream(self._watch, request, (*_metadata(token), ("hasleader", "true")))

    def close(self) -> None:
        """Cut the connection, and with it all that is asked."""
        self._closed = True
        self._channel.close()


class Stream:
    """The answers to one request that keep coming, read by a thread of its own; for the running event loop."""

    def __init__(self, call: Callable[..., Any], request: Any, metadata: Sequence[tuple[str, str]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._back = way_to(self._loop)
        self._answers: deque[Any] = deque()
        """What has come and was not taken; the last is None once there will be no more, or an error."""
        self._awaited: asyncio.Future[None] | None = None
        self._deadlines = Deadlines()
        self._room = threading.Semaphore(ANSWERS_WAITING_MOST)
        # The stream is open as long as its requests have no end.
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._requests.put(request)
        self._call = call(iter(self._requests.get, None), metadata=metadata)
        threading.Thread(target=self._read, name="semel-etcd-watch", daemon=True).start()

    def _read(self) -> None:
        try:
            for answer in self._call:
                self._give(answer)
                self._room.acquire()
            self._give(None)
        except grpc.RpcError as error:
            self._give(error)

    def _give(self, answer: Any) -> None:
        self._answers.append(answer)
        if self._awaited is not None:  # else it is found by who comes for the next one
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                self._back.call(self._wake)

    def _wake(self) -> None:
        if self._awaited is not None and not self._awaited.done():
            self._awaited.set_result(None)

    async def next(self, within_s: float) -> list[Any]:
        """Return the answers that have come, one at least; none if the stream has ended.

        Raises:
            RpcError: it broke.
            TimeoutError: nothing has come in this time.
        """
        if not self._answers:
            await self._first(within_s)
        answers = [self._answers.popleft() for _ in range(len(self._answers))]
        if not answers:
            raise TimeoutError
        if answers[-1] is None or isinstance(answers[-1], grpc.RpcError):
            end = answers.pop()
            if answers:
                self._answers.append(end)  # which is told next time
            elif end is not None:
                raise end
        self._room.release(max(1, len(answers)))
        return answers

    async def _first(self, within_s: float) -> None:
        """Wait for an answer, but no longer than this."""
        self._awaited = self._loop.create_future()
        self._deadlines.set(self, within_s, self._wake)
        try:
            if not self._answers:  # one that came before it was awaited wakes nobody
                await self._awaited
        finally:
            self._deadlines.call_off(self)
            self._awaited = None

    def close(self) -> None:
        """End the stream, and its threads."""
        self._requests.put(None)
        self._call.cancel()
        self._room.release()


def credentials_of(address: EtcdAddress) -> grpc.ChannelCredentials | None:
    """Return what TLS needs, None without TLS. Without `ca`, the roots that gRPC brings with it are trusted."""
    if not address.tls:
        return None
    return grpc.ssl_channel_credentials(
        root_certificates=_read(address.ca), private_key=_read(address.key), certificate_chain=_read(address.cert)
    )


def _read(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()


def _metadata(token: str | None) -> tuple[tuple[str, str], ...]:
    return () if token is None else (("token", token),)
