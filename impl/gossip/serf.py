"""The object that the shell drives."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from .config import Config
from .effects import Address, Effect, Member
from .wire import StreamMessage


class Gossip:
    """One agent's part in a gossip pool."""

    def __init__(
        self,
        name: str,
        address: Address,
        tags: Mapping[str, str],
        config: Config,
        random: random.Random,
        now_ns: int,
    ) -> None: ...

    @property
    def deadline_ns(self) -> int:
        """When `tick` is due next. Look again after every input."""
        raise NotImplementedError

    @property
    def health_score(self) -> int:
        """Lifeguard's awareness: 0 is healthy, `awareness_max_multiplier - 1` is worst."""
        raise NotImplementedError

    def take(self) -> list[Effect]:
        """The effects since the last call, in order."""
        raise NotImplementedError

    def members(self) -> list[Member]:
        """Everyone known, ourselves included, sorted by name."""
        raise NotImplementedError

    def member(self, name: str) -> Member | None:
        raise NotImplementedError

    def tick(self, now_ns: int) -> None: ...

    def datagram(self, data: bytes, source: Address, now_ns: int) -> None:
        """A datagram came in. A malformed one is dropped with a `Warned`."""

    def stream_request(self, message: StreamMessage, source: Address, now_ns: int) -> bytes:
        """A whole message came on a stream that a peer opened: returns what to write before closing it."""
        raise NotImplementedError

    def stream_reply(self, token: int, message: StreamMessage, now_ns: int) -> None: ...

    def stream_failed(self, token: int, reason: str, now_ns: int) -> None: ...

    def join(self, addresses: Sequence[Address], now_ns: int) -> None:
        """Exchange state with each address; one `JoinFinished` for each follows."""

    def leave(self, now_ns: int) -> None:
        """Tell the others that we go; `LeaveFinished` follows within a bounded time."""

    def force_leave(self, name: str, prune: bool, now_ns: int) -> bool:
        """Turn a failed member into a left one everywhere (`prune`: forget it at once). False if it is unknown."""
        raise NotImplementedError

    def set_tags(self, tags: Mapping[str, str], now_ns: int) -> None:
        """Replace our tags and tell the others. Raises `TooLarge` above 512 encoded bytes."""

    def fire(self, name: str, payload: bytes, coalesce: bool, now_ns: int) -> None:
        """Send a user event to everyone, ourselves included. Raises `TooLarge`."""
