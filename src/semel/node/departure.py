"""A node's departure on request: asked for once, bounded in time, and told to whoever can end the process."""

import asyncio
from typing import Any

from semel.node.runtime import Runtime


class Departure:
    """Whether a node has been asked to leave, and how long what runs may take to end."""

    def __init__(self, within_s: float) -> None:
        """Expect to be asked; `within_s` is what holds if whoever asks says nothing else."""
        self.asked = asyncio.Event()
        """Set once the node is to go down; the process that it lives in waits for this."""
        self.within_s = within_s

    def ask(self, runtime: Runtime, within_s: float | None) -> dict[str, Any]:
        """Let the node take no new calls and resign; return what there is to wait for.

        Who asks again changes nothing: the first time limit stands.
        """
        status = runtime.status()
        if not self.asked.is_set():
            self.within_s = self.within_s if within_s is None or status["draining"] else within_s
            runtime.retreat()
            self.asked.set()
        others = [node for node in status["nodes"] if node["alive"] and node["node"] != status["node"]]
        return {
            "node": status["node"],
            "incarnation": status["incarnation"],
            "running": status["running_here"],
            "waiting": status["waiting_here"],
            "others": len(others),
            "already": status["draining"],
            "timeout_s": self.within_s,
        }
