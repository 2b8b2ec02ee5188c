from collections.abc import AsyncIterator

import pytest

from tests.kino.rig import Rig


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = await Rig().start()
    yield rig
    await rig.channel.close()
    await rig.server.stop()
