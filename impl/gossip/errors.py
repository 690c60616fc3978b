"""The errors of the gossip core: what a peer did wrong, and what the caller did wrong."""

from __future__ import annotations


class Malformed(Exception):
    """A peer sent bytes that are not a message; the text says why. Close the stream or drop the packet."""


class TooLarge(ValueError):
    """Tags or a user event do not fit into the protocol's limit. Shorten them."""


class InvalidName(ValueError):
    """A node name is empty, longer than 128 bytes, or not printable. Choose another."""
