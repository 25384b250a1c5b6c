"""A node as a process: the command line of `semel serve`. Knows its options and nothing of what a node does."""

import sys
from collections.abc import Sequence
from pathlib import Path


def node_command(
    target: str, *, name: str, log: str, listen: str, data: Path | None = None, options: Sequence[str] = ()
) -> list[str]:
    """Return the command line of one node, with the Python that runs this."""
    return [
        *(sys.executable, "-m", "semel", "serve", target, "--log", log, "--node", name, "--listen", listen),
        *(("--data", str(data)) if data else ()),
        *options,
    ]
