"""What a client heard of its attempts at the nodes' URLs, and the error that says it all.

Knows which failures leave it open whether the call ran; sends nothing.
"""

from collections.abc import Sequence

from semel.errors import ClusterError, NoLeader, SemelError, Unconfirmed, Undecided
from semel.gateway.clients.endpoint import Endpoint, NotANode, NotConnected, Unreachable


class Failures:
    """What went wrong last at each URL, and whether the call may have reached a node all the same."""

    def __init__(self) -> None:
        self.for_good: set[str] = set()
        self._by_url: dict[str, str] = {}
        self._said: dict[str, str] = {}
        """What each node has said last of itself; a node that gives no answer after that has not taken it back."""
        self._broken: dict[str, SemelError] = {}
        self._unconfirmed: Unconfirmed | None = None
        self._in_the_dark = False

    def __str__(self) -> str:
        return "; ".join(f"{url}: {why}" for url, why in self._by_url.items())

    def add(self, endpoint: Endpoint, error: Exception) -> None:
        """Note a failure."""
        self._by_url[endpoint.url] = self._why(endpoint.url, error)
        if isinstance(error, NotANode):
            self.for_good.add(endpoint.url)
        self._broken.pop(endpoint.url, None)
        if isinstance(error, Unconfirmed):
            self._unconfirmed = error
        if isinstance(error, Unconfirmed) or (isinstance(error, SemelError) and not isinstance(error, ClusterError)):
            self._broken[endpoint.url] = error
        sent = isinstance(error, TimeoutError | Unreachable) and not isinstance(error, NotConnected)
        self._in_the_dark |= sent or isinstance(error, Undecided) or endpoint.url in self._broken

    def _why(self, url: str, error: Exception) -> str:
        if not isinstance(error, TimeoutError):
            if isinstance(error, SemelError):
                self._said[url] = str(error)
            return str(error)
        silence = "it did not answer in time"
        return f"{silence}, and had said before: {self._said[url]}" if url in self._said else silence

    def raise_if_broken(self, candidates: Sequence[Endpoint]) -> None:
        """Raise what ails the nodes (their log, their replica) if that is all that any of them has to say.

        A read that could not be linearizable counts: the node has already waited for its log.
        """
        if all(each.url in self._broken for each in candidates):
            raise self._broken[candidates[-1].url]

    def no_node_left(self, key: str | None) -> ClusterError:
        """Return the error for URLs at none of which there is a node, or not any more."""
        happened = f"no semel node answers: {self}. Check the URLs."
        if self._in_the_dark and key is not None:
            return self._undecided(happened, key)
        return ClusterError(f"{happened} Nothing was run")

    def summed_up(self, limit_s: float, key: str | None) -> ClusterError:
        """Return the error that says what happened, and what a retry of the call with `key` would do."""
        if self._unconfirmed is not None:
            return self._unconfirmed
        happened = f"no answer within {limit_s:.1f} s: {self}."
        if key is None:
            return NoLeader(f"{happened} Try again later, or ask another node")
        if not self._in_the_dark:
            return NoLeader(f"{happened} Nothing was run; retrying with the key {key!r} is safe")
        return self._undecided(happened, key)

    @staticmethod
    def _undecided(happened: str, key: str) -> Undecided:
        return Undecided(
            f"{happened} The call may have run or may yet run. Retrying with the key {key!r} is safe and tells; a new "
            "key is not"
        )
