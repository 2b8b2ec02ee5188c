import pytest

from tests.services.conftest import Serve, Served


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve("editor")
