"""The climate: which faults can strike, how likely each is at the moment, and how often each has struck."""

import enum
from collections import Counter
from random import Random


class Fault(enum.StrEnum):
    """What can go wrong; the name is what the report says."""

    CRASH_BEFORE_STEP = "crash before an input was taken"
    CRASH_BETWEEN_EFFECTS = "crash between two effects"
    CRASH_WHEN_ELECTED = "crash of a leader just elected"
    CRASH = "crash at any time"
    CRASH_ALL = "crash of all nodes at once"
    FREEZE = "freeze and thaw"
    FREEZE_WITHOUT_TIME = "freeze in which the clock stood still"
    DRAIN = "drain"
    APPEND_REFUSED = "append refused"
    APPEND_UNKNOWN = "append committed, answer lost"
    APPEND_LATE = "append that lands late"
    ACKNOWLEDGEMENT_LATE = "acknowledgement of an append late"
    READS_LAG = "reads lag"
    LOG_DOWN = "log unavailable"
    LOG_CUT = "node cut from the log"
    PULSE_LOST = "pulse lost"
    NODES_CUT = "nodes cut from each other"
    NODES_CUT_ONE_WAY = "nodes cut in one direction"
    MESSAGE_LOST = "message lost"
    MESSAGE_DOUBLED = "message doubled"
    MESSAGE_LATE = "message late"
    PEER_LOST_FALSELY = "peer declared lost, falsely"
    PEER_LOSS_UNSEEN = "loss of a peer not seen"
    CLOCK_JUMP = "wall clock jumps"
    TRIM = "log trimmed"
    RESTORE_FROM_PEER = "replica restored from a peer"
    TOOL_SLOW = "tool slow"
    TOOL_FAILED = "tool failed"
    TOOL_LOST = "tool lost"
    TOOL_STUCK = "tool never returns"
    HOOK_BLIND = "reconcile hook does not see what its tool did"
    HOOK_SLOW = "reconcile hook slow"
    HOOK_FAILED = "reconcile hook failed"
    HOOK_STUCK = "reconcile hook never returns"
    TOOL_UNKNOWN = "tool unknown on a node"
    CLIENT_HEDGED = "client asks two nodes at once"
    CLIENT_LEFT = "client gone before its answer"
    KEY_REUSED = "key reused for another call"
    TOOL_ASKS = "tool asks for more input"
    ROUND_AGAIN = "client asks for an earlier round again"
    ROUND_LEFT = "client gone between two rounds"
    ROUND_FORGED = "round forged"


class Climate:
    """The odds of every fault, and the count of those that struck."""

    def __init__(self, chance: Random, odds: dict[Fault, float]) -> None:
        self._chance = chance
        self._odds = odds
        self.struck: Counter[Fault] = Counter()

    def strikes(self, fault: Fault) -> bool:
        """Return whether the fault strikes here and now."""
        odds = self._odds.get(fault, 0.0)
        if odds and self._chance.random() < odds:
            self.struck[fault] += 1
            return True
        return False

    def count(self, fault: Fault) -> None:
        """Note a fault that was planned, not rolled."""
        self.struck[fault] += 1

    def calm(self) -> None:
        """Let nothing strike any more."""
        self._odds = {}
