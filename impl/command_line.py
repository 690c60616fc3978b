"""The command line and the configuration files of an agent, in Consul's manner, to one `AgentConfig`.

Everything is first brought into the form of a configuration file: nested JSON objects with Consul's keys.
These are merged (objects key by key, lists appended, anything else replaced), and the result is read in one
place, so that a flag and its key cannot differ. An error names the flag, or the file and the key.
"""

from __future__ import annotations

import os
import re
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from impl.config import REPLICATED_BYTES_MAX, AgentConfig, parse_address
from impl.durations import parse_duration
from impl.gossip import LAN
from impl.gossip import Config as GossipConfig
from impl.ports import Ports

Settings = dict[str, Any]

NODE_ID_FILE = "node-id"
"""On the agent's disk."""

MILLISECOND_NS = 1_000_000


class UsageError(Exception):
    """The command line is wrong: the message names the flag and what it takes."""


class BrokenConfig(Exception):
    """A configuration file is wrong: the message names the file, and the line or the key."""


# --- Flags


@dataclass(frozen=True, slots=True)
class _Flag:
    """A flag, and the key of a configuration file that says the same."""

    path: tuple[str, ...]
    kind: type = str
    repeated: bool = False


_FLAGS: Mapping[str, _Flag] = {
    "server": _Flag(("server",), bool),
    "bootstrap": _Flag(("bootstrap",), bool),
    "bootstrap-expect": _Flag(("bootstrap_expect",), int),
    "dev": _Flag(("dev",), bool),
    "bind": _Flag(("bind_addr",)),
    "advertise": _Flag(("advertise_addr",)),
    "client": _Flag(("client_addr",)),
    "data-dir": _Flag(("data_dir",)),
    "node": _Flag(("node_name",)),
    "node-id": _Flag(("node_id",)),
    "datacenter": _Flag(("datacenter",)),
    "join": _Flag(("start_join",), repeated=True),
    "retry-join": _Flag(("retry_join",), repeated=True),
    "retry-interval": _Flag(("retry_interval",)),
    "http-port": _Flag(("ports", "http"), int),
    "server-port": _Flag(("ports", "server"), int),
    "serf-lan-port": _Flag(("ports", "serf_lan"), int),
    "log-level": _Flag(("log_level",)),
    "config-file": _Flag(("config-file",), repeated=True),
    "config-dir": _Flag(("config-dir",), repeated=True),
}

USAGE = "usage: proconsul agent " + " ".join(
    f"[-{name}]" if flag.kind is bool else f"[-{name}=VALUE]{'...' if flag.repeated else ''}"
    for name, flag in _FLAGS.items()
)


def parse_agent_flags(arguments: Sequence[str]) -> tuple[Settings, list[Path]]:
    """The flags as settings, and the configuration files in order. Raises UsageError."""
    settings: Settings = {}
    files: list[Path] = []
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        name, equals, value = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or name not in _FLAGS:
            raise UsageError(f"unknown flag {argument!r}\n{USAGE}")
        flag = _FLAGS[name]
        if flag.kind is bool:
            value = value if equals else "true"
        elif not equals:
            if not remaining:
                raise UsageError(f"flag -{name} needs a value")
            value = remaining.pop(0)
        if name == "config-file":
            files.append(Path(value))
        elif name == "config-dir":
            files += _files_of(Path(value))
        else:
            _put(settings, flag, _flag_value(name, flag.kind, value))
    return settings, files


def _flag_value(name: str, kind: type, value: str) -> Any:
    if kind is bool:
        if value.lower() not in ("true", "false", "1", "0"):
            raise UsageError(f"flag -{name}: {value!r} is neither true nor false")
        return value.lower() in ("true", "1")
    if kind is int:
        if not re.fullmatch(r"-?\d+", value):
            raise UsageError(f"flag -{name}: {value!r} is not a whole number")
        return int(value)
    return value


def _put(settings: Settings, flag: _Flag, value: Any) -> None:
    *outer, last = flag.path
    for key in outer:
        settings = settings.setdefault(key, {})
    if flag.repeated:
        settings.setdefault(last, []).append(value)
    else:
        settings[last] = value


def _files_of(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise UsageError(f"flag -config-dir: {directory} is not a directory")
    return sorted(path for path in directory.iterdir() if path.suffix == ".json")


# --- Files


def read_config_file(path: Path) -> Settings:
    """The settings of one file. Raises BrokenConfig."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BrokenConfig(f"{path}: {error.strerror}") from error
    return parse_config(data, str(path))


def parse_config(data: bytes, source: str) -> Settings:
    """The settings of a JSON object. Raises BrokenConfig, with the line where the JSON breaks."""
    try:
        value = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        found = re.search(r"byte (\d+)", str(error))
        offset = int(found.group(1)) if found else len(data)
        line = data.count(b"\n", 0, offset) + 1
        raise BrokenConfig(f"{source}, line {line}: {error}") from error
    if not isinstance(value, dict):
        raise BrokenConfig(f"{source}: a configuration is a JSON object")
    return value


def merge(settings: Settings, other: Settings) -> Settings:
    """`settings` with `other` on top."""
    merged = dict(settings)
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        elif isinstance(value, list) and isinstance(merged.get(key), list):
            merged[key] = [*merged[key], *value]
        else:
            merged[key] = value
    return merged


# --- Settings to an AgentConfig


class _Reader:
    """Takes settings out one by one, checked; what remains is unknown."""

    def __init__(self, settings: Settings) -> None:
        self._left = _flatten(settings)

    def take(self, key: str, kind: type | tuple[type, ...], default: Any) -> Any:
        value = self._left.pop(key, default)
        if value is not default and (
            not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool)
        ):
            raise BrokenConfig(f"{key}: {value!r} is not of the right kind")
        return value

    def duration(self, key: str, default_ns: int, *, pause: bool = False) -> int:
        """In ns; a `pause` between two tries must not be none at all."""
        text = self.take(key, str, None)
        if text is None:
            return default_ns
        try:
            value = parse_duration(text)
        except ValueError as error:
            raise BrokenConfig(f"{key}: {error}") from error
        if value < (MILLISECOND_NS if pause else 0):
            raise BrokenConfig(f"{key}: {text} is {'less than 1ms' if pause else 'negative'}")
        return value

    def port(self, key: str, default: int) -> int:
        value: int = self.take(key, int, default)
        if not -1 <= value < 65536:
            raise BrokenConfig(f"{key}: {value} is not a port")
        return value

    def count(self, key: str, default: int, least: int = 1) -> int:
        value: int = self.take(key, int, default)
        if value < least:
            raise BrokenConfig(f"{key}: {value} is less than {least}")
        return value

    def size(self, key: str, default: int) -> int:
        """Of something that clients may have replicated."""
        value: int = self.take(key, int, default)
        if not 0 <= value <= REPLICATED_BYTES_MAX:
            why = f"is not between 0 and {REPLICATED_BYTES_MAX}, which one server can send to another"
            raise BrokenConfig(f"{key}: {value} {why}")
        return value

    def address(self, key: str, default: str) -> str:
        text: str = self.take(key, str, default)
        try:
            return socket.inet_ntoa(socket.inet_pton(socket.AF_INET, text))
        except OSError:
            raise BrokenConfig(f"{key}: {text!r} is not an IPv4 address") from None

    def addresses(self, key: str, default_port: int) -> tuple[str, ...]:
        """Addresses of agents, as they are written."""
        values = self.take(key, list, [])
        if not all(isinstance(value, str) for value in values):
            raise BrokenConfig(f"{key}: must be a list of texts")
        for text in values:
            try:
                parse_address(text, default_port)
            except ValueError as error:
                raise BrokenConfig(f"{key}: {error}") from None
        return tuple(values)

    def unknown(self) -> list[str]:
        return sorted(self._left)


def _flatten(settings: Settings, prefix: str = "") -> Settings:
    flat: Settings = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        elif value is not None:
            flat[prefix + key] = value
    return flat


def agent_config(settings: Settings) -> tuple[AgentConfig, list[str]]:
    """The configuration, and the keys that are not known here. Raises BrokenConfig."""
    read = _Reader(settings)
    dev = read.take("dev", bool, False)
    server = read.take("server", bool, dev)
    bootstrap = read.take("bootstrap", bool, dev)
    expect = read.take("bootstrap_expect", int, 1 if bootstrap else 0)
    bind = read.address("bind_addr", "127.0.0.1" if dev else "0.0.0.0")
    advertise = read.address("advertise_addr", bind if bind != "0.0.0.0" else first_private_address())
    client = read.address("client_addr", "127.0.0.1")
    lan_port = read.port("ports.serf_lan", 8301)
    data_dir = read.take("data_dir", str, None)
    if data_dir is None and not dev:
        raise BrokenConfig("data_dir: must be given (-data-dir), unless with -dev")
    if expect and not server:
        raise BrokenConfig("bootstrap_expect: only a server can bootstrap (-server)")
    if expect < 0:
        raise BrokenConfig(f"bootstrap_expect: {expect} is negative")
    multiplier = read.take("performance.raft_multiplier", int, 1)
    if not 1 <= multiplier <= 10:
        raise BrokenConfig(f"performance.raft_multiplier: {multiplier} is not between 1 and 10")
    config = AgentConfig(
        node_name=read.take("node_name", str, socket.gethostname()),
        node_id=read.take("node_id", str, ""),
        datacenter=read.take("datacenter", str, "dc1").lower(),
        server=server,
        bootstrap_expect=expect,
        bind_addr=bind,
        advertise_addr=advertise,
        client_addr=read.address("addresses.http", client),
        http_port=read.port("ports.http", 8500),
        server_port=read.port("ports.server", 8300),
        serf_lan_port=lan_port,
        data_dir=None if data_dir is None else Path(data_dir),
        start_join=read.addresses("start_join", lan_port),
        retry_join=read.addresses("retry_join", lan_port),
        retry_interval_ns=read.duration("retry_interval", AgentConfig.retry_interval_ns, pause=True),
        raft_multiplier=multiplier,
        raft_snapshot_threshold=read.count("raft_snapshot_threshold", AgentConfig.raft_snapshot_threshold),
        raft_snapshot_interval_ns=read.duration(
            "raft_snapshot_interval", AgentConfig.raft_snapshot_interval_ns, pause=True
        ),
        raft_trailing_logs=read.count("raft_trailing_logs", AgentConfig.raft_trailing_logs, 0),
        raft_append_entries_max=read.count("raft_append_entries_max", AgentConfig.raft_append_entries_max),
        raft_append_in_flight_max=read.count(
            "raft_append_in_flight_max", AgentConfig.raft_append_in_flight_max
        ),
        rpc_hold_timeout_ns=read.duration("performance.rpc_hold_timeout", AgentConfig.rpc_hold_timeout_ns),
        kv_max_value_size=read.size("limits.kv_max_value_size", AgentConfig.kv_max_value_size),
        txn_max_req_len=read.size("limits.txn_max_req_len", AgentConfig.txn_max_req_len),
        gossip_lan=_gossip(read, "gossip_lan", LAN),
        leave_on_terminate=read.take("leave_on_terminate", bool, not server),
        leave_on_interrupt=not read.take("skip_leave_on_interrupt", bool, server),
        log_level=read.take("log_level", str, "info").lower(),
        dev=dev,
    )
    if config.log_level not in LOG_LEVELS:
        raise BrokenConfig(f"log_level: {config.log_level!r} is none of {', '.join(LOG_LEVELS)}")
    return config, read.unknown()


LOG_LEVELS = {"trace": 10, "debug": 10, "info": 20, "warn": 30, "err": 40, "error": 40}


def _gossip(read: _Reader, key: str, defaults: GossipConfig) -> GossipConfig:
    """Consul's keys of `gossip_lan`; and those that memberlist and Serf have besides, by their names."""
    durations = {
        "probe_interval": "probe_interval_ns",
        "probe_timeout": "probe_timeout_ns",
        "gossip_interval": "gossip_interval_ns",
        "push_pull_interval": "push_pull_interval_ns",
        "reconnect_interval": "reconnect_interval_ns",
        "tcp_timeout": "stream_timeout_ns",
    }
    counts = {
        "gossip_nodes": "gossip_nodes",
        "suspicion_mult": "suspicion_multiplier",
        "retransmit_mult": "retransmit_multiplier",
    }
    changes: dict[str, int] = {}
    for name, field in durations.items():
        changes[field] = read.duration(f"{key}.{name}", getattr(defaults, field))
    for name, field in counts.items():
        changes[field] = read.take(f"{key}.{name}", int, getattr(defaults, field))
    for field, value in changes.items():
        if value < 1:
            raise BrokenConfig(f"{key}: {field} must be positive")
    return replace(defaults, **changes)


def first_private_address() -> str:
    """What to tell others if we listen everywhere: the address of the way out, or "127.0.0.1" without one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))  # sends nothing: only asks for a route (RFC 5737)
        except OSError:
            return "127.0.0.1"
        address: str = probe.getsockname()[0]
        return address


def load(
    arguments: Sequence[str], environment: Mapping[str, str] = os.environ
) -> tuple[AgentConfig, list[str]]:
    """From the arguments behind `agent` to a configuration, and warnings. Raises UsageError, BrokenConfig."""
    flags, files = parse_agent_flags(arguments)
    settings: Settings = {}
    for path in files:
        settings = merge(settings, read_config_file(path))
    local = environment.get("CONSUL_LOCAL_CONFIG")
    if local:
        settings = merge(settings, parse_config(local.encode(), "CONSUL_LOCAL_CONFIG"))
    config, unknown = agent_config(merge(settings, flags))
    return config, [f"{key}: this agent does not know it, and goes on without" for key in unknown]


async def with_node_id(config: AgentConfig, ports: Ports) -> AgentConfig:
    """The configuration with a node id: given, or found on the disk, or made and kept there.

    The id is durable before it is used: it names this server in the Raft configuration, where it must not
    come back under another name. Raises OSError, and BrokenConfig for an id that is no UUID.
    """
    kept = ""
    if NODE_ID_FILE in ports.disk.names():
        kept = ports.disk.read(NODE_ID_FILE).decode(errors="replace").strip()
    text = config.node_id or kept or str(uuid.UUID(int=ports.random.getrandbits(128), version=4))
    try:
        node_id = str(uuid.UUID(text))
    except ValueError:
        where = "node_id" if config.node_id else f"{config.data_dir}/{NODE_ID_FILE}"
        raise BrokenConfig(f"{where}: {text!r} is not a UUID") from None
    if node_id != kept:
        await ports.disk.replace(NODE_ID_FILE, f"{node_id}\n".encode())
    return replace(config, node_id=node_id)
