"""MCP's own conformance suite, run against semel: what the protocol asks of a server, judged by somebody else.

`install.py` brings the suite and a Node that is new enough for it; `everything.py` is the server that its scenarios
call; `through.py` puts semel, or nothing, before that; `run.py` runs the suite and reads what it found; `expected.py`
says what is not passed, and why. `python -m tests.conformance` shows it as a table.
"""
