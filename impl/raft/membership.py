"""Configurations: single-server changes of them, and which one was in force where (thesis section 4.1)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from impl.raft.errors import ConfigurationChangeRefused
from impl.raft.messages import Configuration, Entry, EntryKind, Server, ServerId


class AddVoter(msgspec.Struct, frozen=True, tag=True):
    """Add a voter, turn a non-voter into one, or give a server a new address."""

    id: ServerId
    address: str


class AddNonvoter(msgspec.Struct, frozen=True, tag=True):
    """Add a server that receives the log but counts in no quorum. A voter stays a voter."""

    id: ServerId
    address: str


class DemoteVoter(msgspec.Struct, frozen=True, tag=True):
    """Turn a voter into a non-voter."""

    id: ServerId


class RemoveServer(msgspec.Struct, frozen=True, tag=True):
    """Take a server out of the cluster."""

    id: ServerId


ConfigurationChange = AddVoter | AddNonvoter | DemoteVoter | RemoveServer
"""Single-server changes: any quorum of the old configuration meets any of the new."""


def changed(configuration: Configuration, change: ConfigurationChange) -> Configuration:
    """The configuration after `change`.

    Raises ConfigurationChangeRefused if the change makes no sense: an unknown server, an address in use by
    another server, or no voter left.
    """
    old = configuration.get(change.id)
    new: Server | None
    match change:
        case AddVoter() | AddNonvoter():
            voter = isinstance(change, AddVoter) or (old is not None and old.voter)
            new = Server(id=change.id, address=change.address, voter=voter)
            for server in configuration.servers:
                if server.address == new.address and server.id != new.id:
                    raise ConfigurationChangeRefused(f"address {new.address} belongs to server {server.id}")
        case DemoteVoter() | RemoveServer():
            if old is None:
                raise ConfigurationChangeRefused(f"server {change.id} is not in the configuration")
            remains = isinstance(change, DemoteVoter)
            new = Server(id=old.id, address=old.address, voter=False) if remains else None
    servers = [new if server is old else server for server in configuration.servers]
    if old is None:
        servers.append(new)
    result = Configuration(servers=tuple(server for server in servers if server is not None))
    if not result.voters:
        raise ConfigurationChangeRefused(f"{change} would leave no voter")
    return result


def encode_configuration(configuration: Configuration) -> bytes:
    """A configuration as the data of an entry of kind CONFIGURATION."""
    return msgspec.msgpack.encode(configuration)


def decode_configuration(data: bytes) -> Configuration:
    """The inverse of `encode_configuration`. Raises msgspec.DecodeError."""
    return msgspec.msgpack.decode(data, type=Configuration)


class ConfigurationHistory:
    """The configurations that the log still may fall back to or be asked for, oldest first.

    A server uses the latest configuration in its log, whether or not it is committed; if the entry is
    truncated, the one before it is in force again.
    """

    def __init__(self, index: int, configuration: Configuration, entries: Iterable[Entry]) -> None:
        """Start from `configuration` as of `index`, and read those of `entries`."""
        self._history = [(index, configuration)]
        for entry in entries:
            self.append(entry)

    @property
    def latest(self) -> Configuration:
        """The one in force."""
        return self._history[-1][1]

    @property
    def latest_index(self) -> int:
        """Where the one in force begins."""
        return self._history[-1][0]

    def at(self, index: int) -> Configuration:
        """The one in force just after `index`, which must not be compacted."""
        return next(configuration for first, configuration in reversed(self._history) if first <= index)

    def append(self, entry: Entry) -> bool:
        """Take note of a new entry of the log: whether it has changed the configuration."""
        if entry.kind != EntryKind.CONFIGURATION:
            return False
        self._history.append((entry.index, decode_configuration(entry.data)))
        return True

    def truncate(self, first: int) -> bool:
        """The log drops `first` and all after it: whether that has changed the configuration."""
        length = len(self._history)
        while self._history[-1][0] >= first:
            self._history.pop()
        return len(self._history) != length

    def compact(self, index: int) -> None:
        """Nobody will ask for a place before `index`."""
        while len(self._history) > 1 and self._history[1][0] <= index:
            self._history.pop(0)

    def reset(self, index: int, configuration: Configuration) -> None:
        """A snapshot replaces everything."""
        self._history = [(index, configuration)]
