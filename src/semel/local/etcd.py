"""An etcd member as a process: which etcd is here, whether it may be trusted, and how it is started.

Knows etcd's command line; what etcd stores, and who belongs to its cluster, is known elsewhere.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semel.errors import EtcdMissing

HEARTBEAT_MS = 30
"""How often etcd's leader says that it is there. etcd advises a round trip or more, which on a LAN is well under 1 ms;
30 leaves room for a busy machine, and ten of them may be lost before anybody stands for election."""
ELECTION_MS = 300
"""How long an etcd member waits for its leader. A dead leader costs one to two of these; etcd's own defaults (100 and
1000) cost 1.5 to 2.2 s. Below 200 a garbage collection or a slow disk is taken for a death."""
SNAPSHOT_COUNT = 10_000
"""etcd keeps so many entries of its Raft log in memory; its default before 3.6, ten times that, can mean gigabytes
where entries carry tools' results."""
VERSION_S = 10.0

OLDEST = (3, 4, 0)
CORRUPTING = ((3, 5, 0), (3, 5, 1), (3, 5, 2))
"""They can lose committed entries when they are killed under load (etcd's own advice is not to run them)."""
INSTALL = (
    "install one: `sudo apt-get install etcd-server` on Debian and Ubuntu (other systems' etcd packages do as well, "
    "from 3.4 on, except 3.5.0 to 3.5.2)"
)

Version = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How fast etcd notices that its leader has died, in milliseconds."""

    heartbeat_ms: int = HEARTBEAT_MS
    election_ms: int = ELECTION_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Founding:
    """What an etcd member whose data directory is empty needs to know; one with data ignores it."""

    peers: Mapping[str, str]
    """The members' peer URLs by their names, this one's among them."""
    token: str
    """Keeps members of different clusters apart."""
    joins: bool
    """Whether the cluster is there already and has taken this member in."""


def find_etcd() -> Path:
    """Return the etcd beside this Python or on the PATH.

    Raises:
        EtcdMissing: there is none, or it is of a version that semel does not trust.
    """
    beside = shutil.which("etcd", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("etcd")
    if found is None:
        raise EtcdMissing(f"no etcd is installed here: neither beside {sys.executable} nor on the PATH; {INSTALL}")
    version = _version(Path(found))
    if version < OLDEST or version in CORRUPTING:
        why = "can corrupt its data" if version in CORRUPTING else "is too old"
        raise EtcdMissing(f"{found} is etcd {'.'.join(map(str, version))}, which {why}; {INSTALL}")
    return Path(found)


def _version(etcd: Path) -> Version:
    try:
        said = subprocess.run(
            [etcd, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=VERSION_S,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EtcdMissing(f"{etcd} does not say its version ({error}); {INSTALL}") from error
    match = re.search(r"etcd Version: (\d+)\.(\d+)\.(\d+)", said)
    if match is None:
        raise EtcdMissing(f"{etcd} does not say its version, so it is no etcd; {INSTALL}")
    return int(match[1]), int(match[2]), int(match[3])


def etcd_command(
    etcd: Path,
    *,
    name: str,
    data: Path,
    listen: tuple[str, str],
    advertise: tuple[str, str],
    founding: Founding,
    tuning: Tuning,
) -> list[str]:
    """Return the command line of one member; `listen` and `advertise` are each a client URL and a peer URL.

    etcd listens at addresses only, and is known under names as well.
    """
    return [
        str(etcd),
        *("--name", name, "--data-dir", str(data)),
        *("--listen-client-urls", listen[0], "--listen-peer-urls", listen[1]),
        *("--advertise-client-urls", advertise[0], "--initial-advertise-peer-urls", advertise[1]),
        *("--initial-cluster", ",".join(f"{peer}={url}" for peer, url in founding.peers.items())),
        *("--initial-cluster-token", founding.token),
        *("--initial-cluster-state", "existing" if founding.joins else "new"),
        *("--heartbeat-interval", str(tuning.heartbeat_ms), "--election-timeout", str(tuning.election_ms)),
        *("--snapshot-count", str(SNAPSHOT_COUNT)),
        *("--logger", "zap", "--log-outputs", "stderr", "--log-level", "warn"),
    ]


def has_data(data: Path) -> bool:
    """Return whether this data directory is that of a member, which has been founded or has joined."""
    return (data / "member" / "wal").is_dir()
