"""Who seems to be alive: suspicion from pulses and connections, by this node's own clock alone.

Only ever a reason to stand for election or to say in doubt sooner or later; the log decides the rest.
"""

from semel.core.call import NodeId


class Presence:
    """The last sign of life of every incarnation that this node has heard or read of."""

    def __init__(self, me: NodeId, patience_s: float) -> None:
        self._me = me
        self._patience_s = patience_s
        self._signs_s: dict[NodeId, float] = {}
        self._beats: dict[NodeId, str] = {}
        self._lost: set[NodeId] = set()
        self._awake_s: float | None = None
        self._looked_s: float | None = None

    def wake(self, now_s: float) -> None:
        """Note that this node runs. A node that slept cannot say that others were silent meanwhile."""
        slept_s = 0.0 if self._awake_s is None else now_s - self._awake_s
        if slept_s > self._patience_s / 2:
            self._excuse(slept_s)
        self._awake_s = now_s

    def pulsed(self, beats: dict[str, tuple[NodeId, str]], now_s: float) -> None:
        """Take the newest beats; only one that differs from the last is a sign of life.

        A node that could not see any pulse for a while cannot say that others were silent meanwhile. A little of that
        while counts all the same: on a log that is always slow to show the pulses a silence has to come to light, too.
        """
        blind_s = 0.0 if self._looked_s is None else now_s - self._looked_s
        if blind_s > self._patience_s / 2:
            self._excuse(blind_s - self._patience_s / 4)
        self._looked_s = now_s
        for node, beat in beats.values():
            if self._beats.get(node) != beat:
                self._beats[node] = beat
                self._signs_s[node] = now_s

    def _excuse(self, span_s: float) -> None:
        """Take a span in which nothing could be heard out of every silence."""
        self._signs_s = {node: sign_s + span_s for node, sign_s in self._signs_s.items()}
        self._looked_s = None if self._looked_s is None else self._looked_s + span_s

    def lost(self, node: NodeId) -> None:
        """Note that the process of that incarnation is gone."""
        self._lost.add(node)

    def found(self, node: NodeId, now_s: float) -> None:
        """Note that that incarnation answers, or has just been elected."""
        self._lost.discard(node)
        self._signs_s[node] = now_s

    def gone(self, node: NodeId, now_s: float) -> bool:
        """Return whether that incarnation seems to be dead, cut off or stalled."""
        if node == self._me:
            return False
        if node.name == self._me.name or node in self._lost:
            return True
        seen_s = now_s if self._looked_s is None else min(now_s, self._looked_s + self._patience_s / 2)
        return seen_s - self._signs_s.setdefault(node, now_s) > self._patience_s
