"""Checkers by name, as `splitbrain check --model` has them."""

import pytest

from checkers.bank import Bank
from checkers.catalogue import checker_named
from checkers.coordinates import Coordinates
from checkers.gossip import Gossip
from checkers.locks import Locks
from checkers.rumours import Rumours
from checkers.servers import Servers
from checkers.sessions import SINGLE, Sessions
from checkers.staleness import Staleness
from checkers.watch import Watch


@pytest.mark.parametrize(
    ("name", "checker"),
    [
        ("sessions", Sessions(SINGLE)),
        ("sessions:monotonic-reads,causal", Sessions(["monotonic-reads", "causal"])),
        ("servers", Servers()),
        ("servers:one-sequence", Servers(one_sequence=True)),
        ("locks:fencing", Locks(fencing=True)),
        ("locks:15", Locks(lease_seconds=15.0)),
        ("bank:100", Bank(100)),
        ("staleness", Staleness()),
        ("staleness:0.5", Staleness(0.5)),
        ("watch", Watch(1.0, 10.0)),
        ("watch:2,5", Watch(2.0, 5.0)),
        ("watch:stale", Watch(1.0, 10.0, fresh=False)),
        ("watch:2,5,stale", Watch(2.0, 5.0, fresh=False)),
        ("gossip:10,20", Gossip(10.0, 20.0)),
        ("gossip:10,20,30", Gossip(10.0, 20.0, remember=30.0)),
        ("rumours:2", Rumours(2.0)),
        ("coordinates:0.2,0.5", Coordinates(0.2, 0.5)),
    ],
)
def test_a_name_and_its_argument_make_a_checker(name: str, checker: object) -> None:
    assert checker_named(name) == checker


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("gossip", r"must be DETECT,CONVERGE\[,REMEMBER\], not ''"),
        ("gossip:1,2,3,4", "not '1,2,3,4'"),
        ("rumours", "must be SPREAD, not ''"),
        ("rumours:soon", "must be SPREAD, not 'soon'"),
        ("watch:2,5stale", "must be WAKE,SETTLE, not '2,5stale'"),
        ("coordinates:0.2", "must be MEDIAN,P95, not '0.2'"),
        ("sessions:linearizable", "no guarantee linearizable"),
        ("servers:one", "may only be 'one-sequence', not 'one'"),
        ("set-full:serializable", "may only be 'linearizable', not 'serializable'"),
        ("unique-ids:decreasing", "may only be 'increasing', not 'decreasing'"),
        ("comments:all", "must be nothing, not 'all'"),
        ("sequential:all", "must be nothing, not 'all'"),
        ("set-final:all", "must be nothing, not 'all'"),
        ("counter-bounds:7", "must be nothing, not '7'"),
        ("locks:fenced", "must be LEASE, not 'fenced'"),
        ("bank:much", "must be TOTAL, not 'much'"),
        ("long-fork:few", "must be KEYS, not 'few'"),
    ],
)
def test_a_wrong_argument_is_told(name: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        checker_named(name)
