"""The counter without its race: an addition takes its place in the total before anything is awaited."""

from __future__ import annotations

import asyncio

from counter import Counter, main


class MendedCounter(Counter):
    async def add(self, amount: int) -> int:
        self.total += amount
        total = self.total
        await self.replicate(total)
        return total


if __name__ == "__main__":
    asyncio.run(main(MendedCounter))
