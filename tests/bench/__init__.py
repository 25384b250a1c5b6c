"""Measurements on three etcd members and three nodes of this machine: `make bench`, which writes docs/PERFORMANCE.md.

`quorum.py` has the processes, `latency.py` times calls, `silence.py` kills and times what nobody was served for,
`page.py` writes it down; `million.py` is a run of its own.
"""
