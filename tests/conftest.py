"""What all tests share: async tests run on asyncio, the only event loop that semel knows."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
