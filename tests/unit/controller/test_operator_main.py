"""What of the operator can be told without a cluster."""

from __future__ import annotations

import asyncio

import pytest

from graftwork.controller.operator_main import leave_if_stuck


@pytest.mark.parametrize("is_stuck", [True, False])
def test_an_operator_that_sees_nothing_does_not_go_on_leading(is_stuck: bool) -> None:
    """A watch that failed ends the others, and with them the process; if they do not end, the process does."""
    said: list[str] = []

    async def run() -> None:
        async def fail() -> None:
            await asyncio.sleep(0.01)

        async def hang() -> None:
            await asyncio.sleep(3600)

        watches = [asyncio.create_task(fail()), asyncio.create_task(hang())]
        guard = asyncio.create_task(
            leave_if_stuck(
                watches,
                lambda: said.append("stepped down"),
                grace_s=0.2,
                leave=lambda code: said.append(f"left with {code}"),
            )
        )
        await watches[0]
        if not is_stuck:
            guard.cancel()
        await asyncio.wait([guard])
        watches[1].cancel()

    asyncio.run(run())
    assert said == (["stepped down", "left with 1"] if is_stuck else [])
