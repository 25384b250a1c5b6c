"""A machine: a name, a disk and clocks that outlive the processes which run on it, one after the other."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from semel.core.call import CallId, NodeId, Record
from semel.core.entry import Outcome
from semel.core.ledger import DictArchive, Totals
from semel.core.message import Drained, PeerFound, PeerLost
from semel.sim.climate import Fault
from semel.sim.history import Checkpoint
from semel.sim.process import Process
from semel.sim.surroundings import Surroundings
from semel.sim.timeline import Clock


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A replica as it is on a disk: older than what its process has folded, or just as old."""

    totals: Totals
    records: dict[CallId, Record]
    evidence: dict[int, Outcome]

    @classmethod
    def of(cls, process: Process, archive: DictArchive) -> Self:
        """Return what a process has folded."""
        return cls(process.decider.ledger.totals, archive.records.copy(), archive.evidence.copy())


class Machine:
    """Starts, crashes, freezes and drains a node, and keeps its replica."""

    def __init__(self, world: Surroundings, name: str, clock: Clock) -> None:
        self._world = world
        self.name = name
        self.clock = clock
        self.peers: list[Machine] = []
        self.process: Process | None = None
        self._archive = world.core.archive()
        self.disk: Snapshot | None = None
        self._incarnations = 0
        self._frozen_s = 0.0

    @property
    def persisted(self) -> int:
        """The last position that is on the disk."""
        return self.disk.totals.position if self.disk else 0

    def start(self) -> None:
        """Start a new incarnation from the disk; from a peer's replica, if the log no longer reaches back to it."""
        if self.process is not None:
            return
        world = self._world
        if self.persisted + 1 < world.log.first and not self._restore():
            self.start_after(0.2)
            return
        self._archive = world.core.archive()
        disk = self.disk
        if disk is not None:
            self._archive.records, self._archive.evidence = disk.records.copy(), disk.evidence.copy()
        ledger = world.core.ledger(self._archive, disk.totals if disk else None)
        self._incarnations += 1
        node = NodeId(self.name, str(self._incarnations))
        self.process = Process(world, node, self.clock, ledger, on_crash=self.crash, on_trimmed=self._catch_up_soon)
        world.note(self.name, lambda: f"starts as {node} from position {self.persisted}")
        self.process.begin()
        for peer in self.peers:
            self.meet(peer)

    def start_after(self, delay_s: float) -> None:
        """Start some time from now."""
        self._world.timeline.after(delay_s, self.start)

    def crash(self) -> None:
        """End the process here and now; its machine starts it again after a while."""
        if self.process is None:
            return
        self._world.note(self.name, lambda: "crashes")
        self._stop()
        self.start_after(self._world.chance.uniform(0.02, 1.5))

    def _stop(self) -> None:
        process = self.process
        assert process is not None
        self.checkpoint()
        self.process = None
        process.end()
        for peer in self.peers:
            if self._world.network.connected(self.name, peer.name):
                peer.lose(process.node)

    def lose(self, node: NodeId) -> None:
        """Notice, after a moment and if at all, that a peer's process is gone or cut off."""
        if not self._world.climate.strikes(Fault.PEER_LOSS_UNSEEN):
            self._later(0.1, lambda process: process.step(PeerLost(node)))

    def meet(self, peer: "Machine") -> None:
        """Let two processes find each other, if they can."""
        if self.process is None or peer.process is None or not self._world.network.connected(self.name, peer.name):
            return
        mine, theirs = self.process.node, peer.process.node
        self._later(0.03, lambda process: process.step(PeerFound(theirs)))
        peer._later(0.03, lambda process: process.step(PeerFound(mine)))

    def meet_all(self) -> None:
        """Let this machine's process and all others find each other, where they can."""
        for peer in self.peers:
            self.meet(peer)

    def _later(self, within_s: float, action: Callable[[Process], None]) -> None:
        """Do something soon with the process of now, if it still lives then."""
        process = self.process
        if process is not None:
            self._world.timeline.after(self._world.chance.uniform(0.0, within_s), lambda: action(process))

    def freeze(self) -> None:
        """Stop the process where it stands."""
        if self.process is not None and not self.process.frozen:
            self._world.note(self.name, lambda: "freezes")
            self.process.frozen = True
            self._frozen_s = self._world.timeline.now_s

    def thaw(self, *, clock_stood: bool) -> None:
        """Let a frozen process go on, as if no time had passed if its clock stood still."""
        if self.process is not None and self.process.frozen:
            self._world.note(self.name, lambda: "thaws")
            if clock_stood:
                self.clock.skip(self._world.timeline.now_s - self._frozen_s)
            self.process.thaw()

    def drain(self, *, hurry: bool) -> None:
        """Tell the process to go down, wait until it owes nothing or time is up, and start it again later."""
        process = self.process
        if process is None:
            return
        self._world.note(self.name, lambda: f"drains{' in a hurry' if hurry else ''}")
        process.step(Drained())
        self._await_idle(process, self._world.timeline.now_s + (0.3 if hurry else 2.5))

    def _await_idle(self, process: Process, deadline_s: float) -> None:
        if process is not self.process:
            return
        if process.decider.idle or self._world.timeline.now_s >= deadline_s:
            self._world.note(self.name, lambda: "leaves")
            self._stop()
            self.start_after(self._world.chance.uniform(0.02, 0.8))
        else:
            self._world.timeline.after(0.05, lambda: self._await_idle(process, deadline_s))

    def persist(self) -> None:
        """Write what the process has folded to the disk."""
        if self.process is not None:
            self.disk = Snapshot.of(self.process, self._archive)

    def _restore(self) -> bool:
        """Start from the newest replica of a peer; return whether one was found that the log reaches back to."""
        self.disk = self._newest_replica() or self.disk
        return self.persisted + 1 >= self._world.log.first

    def _newest_replica(self) -> Snapshot | None:
        """Return the newest replica of a peer, if the log reaches back to it."""
        peer = max(self.peers, key=lambda peer: peer.persisted, default=None)
        if peer is None or peer.persisted + 1 < self._world.log.first:
            return None
        self._world.climate.count(Fault.RESTORE_FROM_PEER)
        return peer.disk

    def _catch_up_soon(self) -> None:
        """Let the process, which the log has left behind, go on from a peer's replica when that has come."""
        process = self.process
        assert process is not None
        self._world.timeline.after(self._world.chance.uniform(0.01, 0.4), lambda: self._catch_up(process))

    def _catch_up(self, process: Process) -> None:
        if process is not self.process:
            return
        snapshot = None if process.frozen else self._newest_replica()
        if snapshot is None:
            self._catch_up_soon()
            return
        archive = self._archive

        def put() -> None:
            archive.records, archive.evidence = snapshot.records.copy(), snapshot.evidence.copy()

        self._world.note(self.name, lambda: f"has a peer's replica of position {snapshot.totals.position}")
        process.install(snapshot.totals, put)

    def checkpoint(self) -> None:
        """Note what the process's ledger holds, for the judge."""
        if self.process is not None:
            ledger = self.process.decider.ledger
            self._world.history.checkpoints.append(
                Checkpoint(self.process.node, ledger.totals, self._archive.records.copy(), ledger.open.copy())
            )
