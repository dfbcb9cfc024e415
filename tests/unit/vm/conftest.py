"""VMs for unit tests."""

from collections.abc import AsyncIterator

import pytest

from device_agent.vm import process
from device_agent.vm.pool import InterpreterPool

process.install()


@pytest.fixture
async def pool() -> AsyncIterator[InterpreterPool]:
    made = InterpreterPool()
    yield made
    await made.close()
