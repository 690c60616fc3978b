"""What an agent is told, and what it says to nonsense: one clear line, and an exit code of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from impl.command_line import BrokenConfig, UsageError, load, with_node_id
from impl.config import AgentConfig
from impl.gossip import LAN
from impl.system import SystemDisk, system_ports

SECOND_NS = 1_000_000_000


def configured(*arguments: str, **environment: str) -> AgentConfig:
    config, warnings = load(arguments, environment)
    assert not warnings
    return config


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "impl", *arguments], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("style", ["-node n7", "-node=n7", "--node n7", "--node=n7"])
def test_flags_are_taken_in_every_style_of_consul(style: str) -> None:
    assert configured("-dev", *style.split(" ")).node_name == "n7"


def test_switches_need_no_value_but_may_have_one() -> None:
    assert configured("-server", "-data-dir=x", "-bind=127.0.0.1").server
    assert not configured("-dev", "-server=false", "-bootstrap=false").server


def test_dev_is_a_server_of_its_own_on_loopback() -> None:
    config = configured("-dev")
    assert (config.server, config.bootstrap_expect, config.bind_addr) == (True, 1, "127.0.0.1")
    assert config.data_dir is None


def test_files_are_merged_in_order_and_flags_win(tmp_path: Path) -> None:
    first, second = tmp_path / "1.json", tmp_path / "2.json"
    first.write_text(
        json.dumps(
            {
                "node_name": "a",
                "retry_join": ["10.0.0.1"],
                "ports": {"http": 1, "server": 2},
                "gossip_lan": {"probe_interval": "300ms", "suspicion_mult": 3},
                "performance": {"raft_multiplier": 3},
                "raft_append_entries_max": 7,
                "raft_append_in_flight_max": 3,
            }
        )
    )
    second.write_text(json.dumps({"node_name": "b", "retry_join": ["10.0.0.2"], "ports": {"http": 3}}))
    config = configured("-dev", f"-config-dir={tmp_path}", "-node=c", "-retry-join=10.0.0.3")
    assert config.node_name == "c"
    assert config.retry_join == ("10.0.0.1", "10.0.0.2", "10.0.0.3")
    assert (config.http_port, config.server_port, config.raft_multiplier) == (3, 2, 3)
    assert config.raft_append_entries_max == 7
    assert config.raft_append_in_flight_max == 3
    assert config.gossip_lan == replace(LAN, probe_interval_ns=300_000_000, suspicion_multiplier=3)


def test_the_environment_may_hold_a_configuration() -> None:
    local = '{"datacenter": "DC7", "retry_interval": "1m30s"}'
    config = configured("-dev", CONSUL_LOCAL_CONFIG=local)
    assert (config.datacenter, config.retry_interval_ns) == ("dc7", 90 * SECOND_NS)


def test_keys_of_consul_that_are_not_known_here_are_tolerated_with_a_word(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text(
        json.dumps({"connect": {"enabled": True}, "segments": None, "disable_update_check": True})
    )
    config, warnings = load(["-dev", f"-config-file={file}"], {})
    assert config.dev
    assert [warning.split(":")[0] for warning in warnings] == ["connect.enabled", "disable_update_check"]


def test_servers_stop_and_clients_leave_when_they_are_told_to_end() -> None:
    server, client = configured("-dev"), configured("-data-dir=x", "-bind=127.0.0.1")
    assert (server.leave_on_terminate, server.leave_on_interrupt) == (False, False)
    assert (client.leave_on_terminate, client.leave_on_interrupt) == (True, True)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-nonsense"], "unknown flag '-nonsense'"),
        (["positional"], "unknown flag 'positional'"),
        (["-node"], "flag -node needs a value"),
        (["-bootstrap-expect=three"], "flag -bootstrap-expect: 'three' is not a whole number"),
        (["-server=perhaps"], "flag -server: 'perhaps' is neither true nor false"),
        (["-config-dir=/nowhere"], "/nowhere is not a directory"),
    ],
)
def test_a_wrong_flag_is_named(arguments: list[str], text: str) -> None:
    with pytest.raises(UsageError, match="flag") as caught:
        load(arguments, {})
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ('{\n"a": 1,\n oops}', "line 3"),
        ("[]", "a configuration is a JSON object"),
        ('{"server": "yes"}', "server: 'yes' is not of the right kind"),
        ('{"bootstrap_expect": true}', "bootstrap_expect: True is not of the right kind"),
        ('{"bind_addr": "everywhere"}', "bind_addr: 'everywhere' is not an IPv4 address"),
        ('{"ports": {"http": 70000}}', "ports.http: 70000 is not a port"),
        ('{"retry_interval": "soon"}', "retry_interval: 'soon' is not a duration"),
        ('{"retry_join": [1]}', "retry_join: must be a list of texts"),
        ('{"retry_join": ["n2.example:8301"]}', "retry_join: 'n2.example:8301' is not an IPv4 address"),
        ('{"start_join": ["10.0.0.1:0"]}', "start_join: '10.0.0.1:0': the port must be a number"),
        ('{"limits": {"kv_max_value_size": 33554433}}', "limits.kv_max_value_size: 33554433 is not between"),
        ('{"limits": {"txn_max_req_len": 33554433}}', "limits.txn_max_req_len: 33554433 is not between"),
        ('{"limits": {"txn_max_req_len": -1}}', "limits.txn_max_req_len: -1 is not between"),
        ('{"performance": {"raft_multiplier": 11}}', "raft_multiplier: 11 is not between 1 and 10"),
        ('{"raft_append_entries_max": 0}', "raft_append_entries_max: 0 is less than 1"),
        ('{"raft_append_in_flight_max": -1}', "raft_append_in_flight_max: -1 is less than 1"),
        ('{"raft_snapshot_threshold": 0}', "raft_snapshot_threshold: 0 is less than 1"),
        ('{"raft_snapshot_interval": "0s"}', "raft_snapshot_interval: 0s is less than 1ms"),
        ('{"raft_trailing_logs": -1}', "raft_trailing_logs: -1 is less than 0"),
        ('{"retry_interval": "0s"}', "retry_interval: 0s is less than 1ms"),
        ('{"retry_interval": "-1s"}', "retry_interval: -1s is less than 1ms"),
        ('{"log_level": "loud"}', "log_level: 'loud' is none of"),
        ('{"gossip_lan": {"gossip_nodes": 0}}', "gossip_lan: gossip_nodes must be positive"),
    ],
)
def test_a_broken_configuration_names_the_line_or_the_key(tmp_path: Path, content: str, text: str) -> None:
    file = tmp_path / "c.json"
    file.write_text(content)
    with pytest.raises(BrokenConfig) as caught:
        load(["-dev", f"-config-file={file}"], {})
    assert text in str(caught.value)


def test_a_node_id_is_kept_on_the_disk(tmp_path: Path) -> None:
    async def scenario() -> None:
        config = configured("-dev")
        disk = SystemDisk(tmp_path)
        ports = system_ports(disk)
        first = await with_node_id(config, ports)
        assert await with_node_id(config, ports) == first
        given = replace(config, node_id="6F6C7A3E-0000-4000-8000-000000000001")
        assert (await with_node_id(given, ports)).node_id == "6f6c7a3e-0000-4000-8000-000000000001"
        with pytest.raises(BrokenConfig, match="not a UUID"):
            await with_node_id(replace(config, node_id="me"), ports)
        disk.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 64, "expected a command: agent or version"),
        (["agent", "-nonsense"], 64, "unknown flag"),
        (["agent"], 65, "data_dir: must be given"),
        (["agent", "-dev", "-config-file=/nowhere.json"], 65, "/nowhere.json: No such file"),
        (["agent", "-data-dir=/proc/none", "-bind=127.0.0.1"], 71, "/proc/none"),
    ],
)
def test_each_kind_of_trouble_has_its_exit_code_and_no_traceback(
    arguments: list[str], code: int, text: str
) -> None:
    finished = run(*arguments)
    assert finished.returncode == code
    assert text in finished.stderr
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize("arguments", [["version"], ["--help"], ["agent", "-help"]])
def test_help_and_version_are_no_errors(arguments: list[str]) -> None:
    finished = run(*arguments)
    assert finished.returncode == 0
    assert "proconsul" in finished.stdout
