"""One member of etcd: its connection and its calls; it knows neither the other members nor what is asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeAlias

import grpc
from aetcd.rpc import rpc_pb2_grpc as services

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
    """A member at `host:port`, in the running event loop; it connects when it is first asked, and again when cut."""

    def __init__(self, endpoint: str, credentials: grpc.ChannelCredentials | None) -> None:
        self.endpoint = endpoint
        self.fit = False
        """Whether it was seen to be a member of the right cluster, of a version that can be trusted."""
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(endpoint, options=_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(endpoint, credentials, options=_OPTIONS)
        kv = services.KVStub(self._channel)
        maintenance = services.MaintenanceStub(self._channel)
        self._calls: dict[Method, Callable[..., Any]] = {
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

    async def ask(self, method: Method, request: Any, *, within_s: float, token: str | None) -> Any:
        """Send a request and return its answer; raises `grpc.aio.AioRpcError`."""
        return await self._calls[method](request, timeout=within_s, metadata=_metadata(token))

    def watch(self, *, token: str | None) -> Any:
        """Open a stream of events, which ends if the member loses sight of the leader."""
        return self._watch(metadata=(*_metadata(token), ("hasleader", "true")))

    async def close(self) -> None:
        """Cut the connection, and with it all that is asked."""
        await self._channel.close()


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
