"""Many machines: etcd's Raft, through conditional transactions; one key holds one append.

`address` reads the URL; `cluster` asks whichever member answers; `appender`, `reader`, `follower`, `pulses` and
`housekeeping` are what a log does; `engine` is the log. Keys are named in `keys`, values in `framing`.
"""
