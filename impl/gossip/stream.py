"""Streams of memberlist: one message each way, found without an end mark."""

from __future__ import annotations

from . import wire


class StreamReader:
    """Finds the one message on a stream.

    Feed it what arrives; it returns None until the message is whole, then the message. Raises `Malformed` as soon
    as the bytes cannot become one.
    """

    def feed(self, data: bytes) -> wire.StreamMessage | None:
        raise NotImplementedError
