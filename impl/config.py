"""What an agent is told: Consul's command line and configuration files, as one value.

Sources, later ones winning: the defaults, `-dev`, each `-config-file` and the files of each `-config-dir` (in
the order given, a directory's in lexical order), the flags. Lists (`retry_join`) add up. Keys that Consul has
and this agent has not are tolerated with a warning, so that files written for Consul serve.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from impl.gossip import LAN
from impl.gossip import Config as GossipConfig
from impl.ports import Address
from impl.raft import Config as RaftConfig

SECOND_NS = 1_000_000_000

REPLICATED_BYTES_MAX = 32 * 1024 * 1024
"""More than this no client may have replicated at once, whatever it is told: with what goes around it, it has
to fit into a frame (`impl.server.frames`). One that does not stays in the leader's log, and no follower ever
takes it, nor anything behind it."""


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """Everything that one agent is told. Field names follow Consul's configuration keys."""

    node_name: str
    node_id: str
    """A UUID. Found in or written to `data_dir/node-id` if not given. Empty until then."""
    datacenter: str = "dc1"
    server: bool = False
    bootstrap_expect: int = 0
    """How many servers form the cluster at its first start; 1 with -bootstrap and -dev, 0: join a cluster."""
    bind_addr: str = "127.0.0.1"
    advertise_addr: str = "127.0.0.1"
    client_addr: str = "127.0.0.1"
    http_port: int = 8500
    server_port: int = 8300
    serf_lan_port: int = 8301
    data_dir: Path | None = None
    """None with -dev: a temporary directory that goes with the agent."""
    start_join: tuple[str, ...] = ()
    """"ip" or "ip:port": tried once, at the start."""
    retry_join: tuple[str, ...] = ()
    """The same, tried until one answers."""
    retry_interval_ns: int = 30 * SECOND_NS
    raft_multiplier: int = 1
    """Consul's default is 5; 1 is what it recommends for production."""
    raft_snapshot_threshold: int = 16384
    raft_snapshot_interval_ns: int = 30 * SECOND_NS
    raft_trailing_logs: int = 10240
    raft_append_entries_max: int = RaftConfig().append_entries_max
    """Entries per AppendEntries: MaxAppendEntries of hashicorp/raft, which Consul does not let one set."""
    raft_append_in_flight_max: int = RaftConfig().append_in_flight_max
    """AppendEntries under way to one follower: MaxRPCsInFlight of hashicorp/raft's transport."""
    rpc_hold_timeout_ns: int = 7 * SECOND_NS
    kv_max_value_size: int = 512 * 1024
    txn_max_req_len: int = 512 * 1024
    """Of a transaction, as it comes over HTTP, in bytes; `kv_max_value_size` if that is more."""
    gossip_lan: GossipConfig = LAN
    leave_on_terminate: bool = False
    """What SIGTERM does: leave the cluster, or just stop. Consul: servers stop, clients leave."""
    leave_on_interrupt: bool = False
    """The same of SIGINT."""
    log_level: str = "info"
    dev: bool = False


def parse_address(text: str, default_port: int) -> Address:
    """ "ip" or "ip:port". Raises ValueError for anything else."""
    host, _, port = text.partition(":")
    parts = host.split(".")
    if len(parts) != 4 or not all(part.isdecimal() and int(part) < 256 for part in parts):
        raise ValueError(f"{text!r} is not an IPv4 address")
    if not port:
        return host, default_port
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r}: the port must be a number from 1 to 65535")
    return host, int(port)
