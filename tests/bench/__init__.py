"""Measurements on this machine: `make bench`, which writes docs/PERFORMANCE.md.

On three etcd members and three nodes: `quorum.py` has the processes, `latency.py` times calls, `silence.py` kills and
times what nobody was served for. Of a gateway in front of a stdio server: `gateway.py` has the processes and the
table, `load.py` the callers, `adder.py` the tool, `proxy.py` FastMCP's proxy. `page.py` writes it all down;
`million.py` is a run of its own.

Against what people would use instead: `peers.py` is the run, `teams.py` starts everybody, `contest.py` lets them take
turns and counts, `bar.py` has what is wanted, `plot.py` draws, and `programs/` is what runs in the peers' environments.
`growth.py`, `paper.py` and `shares.py` stand on the same contest.
"""
