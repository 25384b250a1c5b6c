"""The newest last position that this process has heard of, from whatever answer; it is a hint, and no truth."""


class KnownTail:
    """Grows only. A follower that stays behind it knows that its stream of events has stalled."""

    def __init__(self) -> None:
        self.position = 0

    def learn(self, position: int) -> None:
        """Note that the log reaches to `position`."""
        self.position = max(self.position, position)
