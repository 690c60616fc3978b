"""What is too rare to wait for, played step by step: and the bugs that would lose entries there."""

from __future__ import annotations

import pytest

from impl.raft import AppendReply, Config, Raft, Role
from impl.raft.testing import follower, leader, members, settle
from tests.mutants.raft import CommitsOldTermsByCounting, CountsItselfUnsynced


def acknowledge(raft: Raft, source: str, index: int) -> None:
    raft.receive(AppendReply(source, raft.id, raft.term, rejected=False, index=index), raft._now_ns)


def elect_by(raft: Raft, term: int, voters: list[Raft]) -> None:
    """Have it elected by `voters`, who hear no leader any more, after `term`."""
    raft.receive(AppendReply("nobody", raft.id, term, rejected=True, index=0), raft._now_ns)
    now_ns = raft.deadline_ns + 10 * Config().heartbeat_timeout_ns
    raft.tick(now_ns)
    for _ in range(3):
        for message in settle(raft):
            for voter in voters:
                if voter.id == message.target:
                    voter.receive(message, now_ns)
        for voter in voters:
            for message in settle(voter):
                if message.target == raft.id:
                    raft.receive(message, now_ns)
    assert raft.role is Role.LEADER


@pytest.mark.parametrize(("core", "is_lost"), [(Raft, False), (CommitsOldTermsByCounting, True)])
def test_figure_8_loses_nothing_that_was_applied(core: type[Raft], is_lost: bool) -> None:
    """S1 leads term 4 and replicates its entry of term 2 to S2 and S3, but not yet one of term 4. Then S5,
    which has an entry of term 3 there, is elected by S2, S3 and S4: figure 8 (d)."""
    five = members("1", "2", "3", "4", "5")
    s1 = follower("1", five, term=3, log=(1, 2), core=core)
    leader(s1)
    settle(s1)
    assert s1.term == 4
    acknowledge(s1, "2", 2)
    acknowledge(s1, "3", 2)
    applied = {entry.index: entry.term for entry in s1.take().apply}

    voters = [follower(name, five, term=4, log=(1, 2), core=core) for name in "23"]
    s5 = follower("5", five, term=3, log=(1, 3), core=core)
    elect_by(s5, 4, voters)
    assert (2 in applied and s5.term_at(2) != applied[2]) is is_lost


@pytest.mark.parametrize(("core", "is_lost"), [(Raft, False), (CountsItselfUnsynced, True)])
def test_a_power_cut_before_the_leaders_sync_loses_nothing_that_was_applied(
    core: type[Raft], is_lost: bool
) -> None:
    """S1 leads, S2 has its entry on disk, S1 has not, and loses power. S1 and S3 go on without S2."""
    s1 = follower("1", core=core)
    now_ns = leader(s1)
    settle(s1)
    acknowledge(s1, "2", 1)
    index = s1.propose(b"command", now_ns)
    s1.take()
    acknowledge(s1, "2", index)
    applied = [entry.index for entry in s1.take().apply]

    s1_again = follower("1", term=2, log=(2,), core=core)
    s3 = follower("3", term=2, log=(2,), core=core)
    elect_by(s3, 2, [s1_again])
    assert (index in applied and s3.term_at(index) != 2) is is_lost
