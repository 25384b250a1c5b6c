"""Many machines: etcd's Raft, through conditional transactions; one key holds one append.

`address` reads the URL; `cluster` asks whichever member answers; `appender`, `reader`, `follower`, `pulses` and
`housekeeping` are what a log does; `engine` is the log. Keys are named in `keys`, values in `framing`.
"""

from semel.log.etcd.address import EtcdAddress
from semel.log.etcd.engine import EtcdLog

__all__ = ["EtcdAddress", "EtcdLog"]
