"""Who wants to be told at once when a call comes to stand otherwise: any of its rounds, or what its tool asks."""

from collections.abc import Callable

from semel.core.call import CallId


class Watches:
    """The calls that somebody here watches; all in the node's event loop."""

    def __init__(self) -> None:
        self._watching: dict[tuple[str, str], list[Callable[[], None]]] = {}

    def watch(self, call: CallId, changed: Callable[[], None]) -> Callable[[], None]:
        """Have `changed` called whenever any round of a call comes to stand otherwise; return what ends that."""
        name = (call.caller, call.key)
        self._watching.setdefault(name, []).append(changed)

        def end() -> None:
            watching = self._watching[name]
            watching.remove(changed)
            if not watching:
                del self._watching[name]

        return end

    def touch(self, call: CallId) -> None:
        """Tell who watches a call that it stands otherwise, or is about to: they look once they get to it."""
        for changed in self._watching.get((call.caller, call.key), ()):
            changed()

    def touch_all(self) -> None:
        """Tell everybody: what has changed is not known."""
        for watching in self._watching.values():
            for changed in watching:
                changed()
