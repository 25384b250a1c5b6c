"""One set of hosts for all scenes, played on an event loop in the client's room; new ones after a scene that failed."""

from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.hosts.hosts import CLIENT
from tests.hosts.loop import Loop
from tests.hosts.namespace import Refused, inhabited
from tests.hosts.network import Network
from tests.hosts.scene import Scene
from tests.processes.etcd import why_no_etcd

Scenario = Callable[[Scene], Awaitable[None]]
Stage = Callable[[Scenario], None]


class Theatre:
    """Has hosts when a scenario wants them."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._scene: Scene | None = None
        self._loop: Loop | None = None

    def play(self, scenario: Scenario) -> None:
        """Play one scenario; the hosts of one that failed are not used again."""
        try:
            scene, loop = self._open()
            loop.run(scenario(scene))
        except BaseException:
            self.close()
            raise

    def _open(self) -> tuple[Scene, Loop]:
        if self._scene is None:
            self._scene = Scene(self._factory.mktemp("hosts"))
        if self._loop is None:
            self._loop = Loop(self._scene.hosts.network.rooms[CLIENT])
            self._loop.run(self._scene.open())
        return self._scene, self._loop

    def close(self) -> None:
        """End everything; harmless when repeated."""
        scene, loop, self._scene, self._loop = self._scene, self._loop, None, None
        rooms = scene.hosts.network.names if scene is not None else set()
        try:
            if loop is not None and scene is not None:
                loop.run(scene.close())
        finally:
            if loop is not None:
                loop.close()
            if scene is not None:
                scene.hosts.network.close()
        assert not inhabited(rooms), "a process was left on a host"


@pytest.fixture(scope="session")
def network_possible() -> None:
    """Skip where such a network cannot be made, and say why."""
    try:
        Network(1).close()
    except Refused as refusal:
        pytest.skip(f"this machine makes no network namespaces: {refusal}")


@pytest.fixture(scope="package")
def _theatre(network_possible: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Theatre]:
    if why := why_no_etcd():
        pytest.skip(why)
    theatre = Theatre(tmp_path_factory)
    yield theatre
    theatre.close()


@pytest.fixture
def stage(_theatre: Theatre) -> Stage:
    """Plays a scenario."""
    return _theatre.play
