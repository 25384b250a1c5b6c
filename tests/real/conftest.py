"""One setting for all tests of real servers and clients: three nodes with six servers each are dear."""

from collections.abc import AsyncIterator

import pytest

from tests import npm
from tests.peers.peer import NotInstallable
from tests.real.setting import Setting, install, standing


@pytest.fixture(scope="package")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="package")
def packages() -> npm.Packages:
    try:
        return install()
    except NotInstallable as error:
        pytest.skip(f"the servers and clients from npm cannot be had: {error}")


@pytest.fixture(scope="package")
async def whole(
    anyio_backend: str, packages: npm.Packages, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Setting]:
    async with standing(tmp_path_factory.mktemp("real"), packages) as setting:
        yield setting


@pytest.fixture
async def setting(whole: Setting) -> Setting:
    """The setting, with all nodes up."""
    await whole.all_up()
    return whole
