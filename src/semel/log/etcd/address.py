"""The URL of a log in etcd, taken apart and checked; it knows the words of the URL and opens no connection.

etcd://[user[:password]@]host[:port],host[:port],...[/prefix][?ca=FILE&cert=FILE&key=FILE&...]
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import parse_qsl, unquote

from semel.errors import UsageError

FORM = "etcd://host:2379,host:2379,host:2379/prefix"
DEFAULT_PORT = 2379
DEFAULT_PREFIX = "semel"
OPTIONS = ("ca", "cert", "key", "password_file", "tls", "compact", "copies")


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdAddress:
    """Where a log is, and how to be let in. `str` of it is safe to show: it holds no password."""

    endpoints: tuple[str, ...]
    """`host:port` of members, the nearest first."""
    prefix: str = DEFAULT_PREFIX
    """One name; every key of this log is under `/<prefix>/`."""
    user: str | None = None
    password: str | None = None
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    compact: bool = True
    """False if etcd is shared with others and its history is somebody else's to shorten."""
    copies: int = 0
    """How many live replicas must hold an entry before it is trimmed; 0 for a majority of the members named."""

    def __str__(self) -> str:
        return f"etcd://{','.join(self.endpoints)}/{self.prefix}"

    @classmethod
    def parse(cls, url: str) -> Self:
        """Read a URL that begins with `etcd:`.

        Raises:
            UsageError: it is no such URL, or names a file that cannot be read; the text shows no password.
        """
        place = url.partition(":")[2]
        if not place.startswith("//"):
            raise UsageError(f"an etcd log's URL is like {FORM}: two slashes after etcd:")
        authority, _, rest = place[2:].partition("?")[0].partition("/")
        login, _, hosts = authority.rpartition("@")
        options = _options(place.partition("?")[2])
        user, password = _login(login, options)
        files = {name: _readable(options[name], name) for name in ("ca", "cert", "key") if name in options}
        if ("cert" in files) != ("key" in files):
            raise UsageError("an etcd log's URL names cert= and key= together, or neither")
        tls = _yes("tls", options, default=bool(files))
        if files and not tls:
            raise UsageError("tls=no in an etcd log's URL contradicts its ca=, cert= or key=")
        return cls(
            endpoints=_endpoints(hosts),
            prefix=_prefix(rest),
            user=user,
            password=password,
            tls=tls,
            compact=_yes("compact", options, default=True),
            copies=_count("copies", options),
            **files,
        )


def _options(query: str) -> Mapping[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    for name, _ in pairs:
        if name not in OPTIONS:
            raise UsageError(f"an etcd log's URL has no option {name!r}; there are {', '.join(OPTIONS)}")
    if len(dict(pairs)) < len(pairs):
        raise UsageError("an etcd log's URL names an option twice")
    return dict(pairs)


def _login(login: str, options: Mapping[str, str]) -> tuple[str | None, str | None]:
    name, colon, password = login.partition(":")
    if "password_file" in options:
        if colon:
            raise UsageError("an etcd log's URL has a password and a password_file: keep the file")
        password = _readable(options["password_file"], "password_file").read_text().rstrip("\r\n")
    elif name and not colon:
        raise UsageError("an etcd log's URL has a user and no password: add password_file=FILE")
    if not name:
        if password:
            raise UsageError("an etcd log's URL has a password and no user: write etcd://user@host:2379")
        return None, None
    return unquote(name), unquote(password) if colon else password


def _endpoints(hosts: str) -> tuple[str, ...]:
    endpoints = tuple(_endpoint(host.strip()) for host in hosts.split(","))
    if len(set(endpoints)) < len(endpoints):
        raise UsageError(f"an etcd log's URL names a member twice: {hosts}")
    return endpoints


def _endpoint(text: str) -> str:
    host, port = text, str(DEFAULT_PORT)
    if not text.endswith("]") and ":" in text:
        host, _, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not bare or set(bare) & set("[]/ ") or (":" in bare and bare == host) or not _is_port(port):
        raise UsageError(f"{text!r} is no etcd member: write host:port, such as {FORM}")
    return f"{host}:{int(port)}"


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text) < 65536


def _prefix(path: str) -> str:
    prefix = unquote(path.strip("/")) or DEFAULT_PREFIX
    if "/" in prefix or "\0" in prefix:
        # One cluster's prefix inside another's would put its keys among the other's.
        raise UsageError(f"{prefix!r} is no prefix of an etcd log: it is one name, without slashes")
    return prefix


def _readable(name: str, option: str) -> Path:
    path = Path(name).expanduser()
    try:
        path.open("rb").close()
    except OSError as error:
        raise UsageError(f"{option}={name} of an etcd log's URL cannot be read: {error.strerror}") from error
    return path


def _count(name: str, options: Mapping[str, str]) -> int:
    text = options.get(name, "0")
    if name in options and not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise UsageError(f"{name}={text} of an etcd log's URL: write a number, 1 or more")
    return int(text)


def _yes(name: str, options: Mapping[str, str], *, default: bool) -> bool:
    match options.get(name, "").lower():
        case "" if name not in options:
            return default
        case "yes":
            return True
        case "no":
            return False
        case other:
            raise UsageError(f"{name}={other} of an etcd log's URL: write {name}=yes or {name}=no")
