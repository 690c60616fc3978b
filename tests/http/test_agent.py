"""/v1/status/ and /v1/agent/."""

from __future__ import annotations

import json
from typing import Any

import pytest


def test_status_tells_the_leader_and_the_peers(api: Any) -> None:
    assert json.loads(api("GET", "/v1/status/leader").body) == "10.0.0.1:8300"
    assert json.loads(api("GET", "/v1/status/peers").body) == ["10.0.0.1:8300", "10.0.0.2:8300"]


def test_members_have_consuls_fields_and_serfs_numbers(api: Any) -> None:
    assert json.loads(api("GET", "/v1/agent/members").body) == [
        {
            "Name": "n1",
            "Addr": "10.0.0.1",
            "Port": 8301,
            "Tags": {"role": "consul"},
            "Status": 1,
            "ProtocolMin": 1,
            "ProtocolMax": 5,
            "ProtocolCur": 2,
            "DelegateMin": 2,
            "DelegateMax": 5,
            "DelegateCur": 4,
        }
    ]


def test_self_has_what_clients_read_of_it(api: Any) -> None:
    answer = json.loads(api("GET", "/v1/agent/self").body)
    assert answer["Config"]["Datacenter"] == "dc1"
    assert answer["Config"]["NodeName"] == "n1"
    assert answer["Config"]["Version"]
    assert answer["Member"]["Addr"] == "10.0.0.1"
    assert answer["Stats"]["raft"]["term"] == "3"


def test_metrics_have_the_shape_of_go_metrics(api: Any) -> None:
    answer = json.loads(api("GET", "/v1/agent/metrics").body)
    assert answer["Gauges"] == [{"Name": "consul.raft.term", "Value": 3.0, "Labels": {}}]
    assert answer["Counters"] == [{"Name": "consul.rpc.request", "Count": 5, "Sum": 5, "Labels": {}}]


def test_join_leave_and_force_leave_reach_the_agent(api: Any) -> None:
    assert api("PUT", "/v1/agent/join/10.0.0.7").status == 200
    assert api("PUT", "/v1/agent/force-leave/n9?prune").status == 200
    assert api("PUT", "/v1/agent/leave").status == 200
    assert (api.agent.joined, api.agent.forced, api.agent.left) == (["10.0.0.7"], [("n9", True)], True)


@pytest.mark.parametrize("target", ["/v1/agent/leave", "/v1/agent/join/10.0.0.7", "/v1/agent/force-leave/n9"])
def test_what_changes_something_is_put(api: Any, target: str) -> None:
    assert api("GET", target).status == 405
