"""Chooses the log engine that a URL names; the one place where all engines are known."""

from pathlib import Path
from urllib.parse import unquote

from semel.errors import UsageError
from semel.log.etcd.address import EtcdAddress
from semel.log.memory import MemoryLog
from semel.log.protocol import Log
from semel.log.sqlite import SqliteLog

SCHEMES = "memory:, sqlite:///absolute/path, sqlite:relative/path, etcd://host:2379,host:2379,host:2379/prefix"


async def open_log(url: str, folder: Path | None = None) -> Log:
    """Open the log at `url`; `folder` is where this machine keeps the data of a log that has no folder of its own.

    Raises:
        UsageError: the URL names no engine, or no place.
        LogError: there is no usable log at that place, by its kind.
    """
    scheme, colon, place = url.partition(":")
    match scheme.lower() if colon else "":
        case "memory":
            return _memory(place, url)
        case "sqlite":
            return await SqliteLog.open(_file(place, url))
        case "etcd":
            from semel.log.etcd.engine import EtcdLog  # here, for gRPC and etcd's stubs take a tenth of a second

            return await EtcdLog.open(EtcdAddress.parse(url), folder)
        case _:
            raise _unknown(url)


def check_url(url: str) -> None:
    """Raise UsageError if `url` names no engine, or no place; nothing is opened."""
    scheme, colon, place = url.partition(":")
    match scheme.lower() if colon else "":
        case "memory":
            _memory(place, url)
        case "sqlite":
            _file(place, url)
        case "etcd":
            EtcdAddress.parse(url)
        case _:
            raise _unknown(url)


def shown(url: str) -> str:
    """Return the URL of a log as people may see it: without the password that it may hold."""
    return str(EtcdAddress.parse(url)) if url.lower().startswith("etcd:") else url


def hosts_of(url: str) -> list[str]:
    """Return the hosts that the URL of a log names; none if it names a place on this machine."""
    endpoints = EtcdAddress.parse(url).endpoints if url.lower().startswith("etcd:") else ()
    return [endpoint.rpartition(":")[0].strip("[]") for endpoint in endpoints]


def _unknown(url: str) -> UsageError:
    return UsageError(f"{url!r} names no log; a log is one of {SCHEMES}")


def _memory(place: str, url: str) -> MemoryLog:
    if place:
        raise UsageError(f"{url}: memory: takes nothing after the colon; each one is a new, empty log")
    return MemoryLog()


def _file(place: str, url: str) -> Path:
    path = unquote(place)
    if path.startswith("//"):
        path = path[2:]
        if not path.startswith("/"):
            raise UsageError(f"{url}: write sqlite:///absolute/path, or sqlite:relative/path without slashes in front")
        path = "/" + path.lstrip("/")
    if not path or path.endswith("/") or "\0" in path:
        raise UsageError(f"{url}: name the file that holds the log, or is to hold it")
    if "?" in place:
        raise UsageError(f"{url}: a sqlite log has no options; write %3F for a question mark in a path")
    return Path(path).expanduser()
