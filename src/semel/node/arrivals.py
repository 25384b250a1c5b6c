"""What is asked of a node in one turn of its event loop, taken together: the replica is asked once. Decides nothing."""

import asyncio
from collections.abc import Callable

from semel.core.call import CallId
from semel.core.ledger import Ledger
from semel.core.message import Received, Submitted
from semel.node.replica import Replica


class Arrivals:
    """Requests on their way to the decider; `step` takes each, `tell` a mistake that is made as they are taken."""

    def __init__(
        self,
        replica: Replica,
        ledger: Ledger,
        step: Callable[[Submitted | Received], None],
        tell: Callable[[Exception], None],
    ) -> None:
        self._replica = replica
        self._ledger = ledger
        self._step = step
        self._tell = tell
        self._arrived: list[tuple[CallId, Submitted | Received]] = []

    def arrive(self, call: CallId, given: Submitted | Received) -> None:
        """Take what is asked of a call: at once if nothing else is to do, else with all that comes in this turn."""
        if not self._arrived:
            if not self._ledger.open:
                self._step(given)
                return
            asyncio.get_running_loop().call_soon(self.take)
        self._arrived.append((call, given))

    def take(self) -> None:
        """Take what has arrived."""
        arrived, self._arrived = self._arrived, []
        try:
            self._replica.look_up(call for call, _ in arrived)
            for _, given in arrived:
                self._step(given)
        except Exception as error:  # else nobody would hear of it, and those after it would wait for ever
            self._tell(error)
