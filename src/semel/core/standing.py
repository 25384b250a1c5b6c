"""Where a node stands: who it is, what it has read, whether it leads. Shared by the parts of its mind."""

from dataclasses import dataclass

from semel.core.call import NodeId
from semel.core.ledger import Ledger
from semel.core.limits import Limits


@dataclass(slots=True)
class Standing:
    """One node's place in the cluster, as far as it has read the log."""

    me: NodeId
    ledger: Ledger
    limits: Limits
    draining: bool = False
    live_at: int | None = None
    """The tail that the node found at its start; None before it has looked."""
    live: bool = False
    """True once the node has read to that tail, as `look` has seen."""

    def look(self) -> None:
        """Note that the node is live, if it is."""
        self.live = self.live_at is not None and self.ledger.position >= self.live_at

    @property
    def leads(self) -> bool:
        """True if, as far as this node has read, it is the leader."""
        leader = self.ledger.leader
        return leader is not None and leader.node == self.me
