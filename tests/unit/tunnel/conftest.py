"""Fixtures of the tunnel's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.tunnel.fake_agent import FakeAgent


@pytest.fixture
async def agent() -> AsyncIterator[FakeAgent]:
    fake = FakeAgent()
    await fake.start()
    yield fake
    await fake.stop()
