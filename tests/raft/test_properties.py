"""Raft's promises under loss, duplication, delay, crashes, pauses, partitions and changes of membership.

`impl.raft.testing` says what is verified at every step, and what is not. Then everything is healed, and the
cluster has to converge. SPLITBRAIN_NIGHTLY=1 searches deeper. To replay a failure by hand, run `simulate`
with the arguments that Hypothesis prints.

The mutants are the evidence that these checks can fail: each is the core with one line of its safety taken
out.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from impl.raft import (
    AppendReply,
    Config,
    Effects,
    InvariantViolation,
    PreVoteReply,
    Raft,
    RequestPreVote,
    RequestVote,
    Role,
)
from impl.raft.messages import AppendEntries, Entry, Message
from impl.raft.progress import Progress
from impl.raft.testing import (
    Faults,
    PropertyViolated,
    Simulation,
    follower,
    leader,
    members,
    settle,
)

MILLISECOND_NS = 1_000_000
NIGHTLY = os.environ.get("SPLITBRAIN_NIGHTLY") == "1"


def interval(*milliseconds: int) -> st.SearchStrategy[int]:
    return st.sampled_from([choice * MILLISECOND_NS for choice in (0, *milliseconds)])


# Each kind of fault is off in some runs, and rare or common in others: so each is also seen without the rest.
FAULTS = st.builds(
    Faults,
    loss=st.sampled_from([0.0, 0.02, 0.2]),
    duplication=st.sampled_from([0.0, 0.05, 0.3]),
    delay_ns_max=st.sampled_from([choice * MILLISECOND_NS for choice in (2, 10, 30)]),
    late=st.sampled_from([0.0, 0.05, 0.2]),
    sync_ns_max=st.sampled_from([choice * MILLISECOND_NS for choice in (1, 5, 50)]),
    crash_interval_ns=interval(1000, 300, 100),
    pause_interval_ns=interval(1000, 200),
    partition_interval_ns=interval(600, 200, 50),
    membership_interval_ns=interval(300, 30),
    transfer_interval_ns=interval(500, 100),
    snapshot_interval_ns=interval(50, 5),
)


def simulate(seed: int, servers: int, spares: int, faults: Faults, core: type[Raft] = Raft) -> Simulation:
    """Two seconds of faults (twenty election timeouts), then at most five to converge."""
    simulation = Simulation(seed, servers, faults, spares=spares, core=core)
    simulation.run(2000 * MILLISECOND_NS)
    simulation.converge(5000 * MILLISECOND_NS)
    return simulation


@settings(
    max_examples=2000 if NIGHTLY else 50,
    deadline=None,
    derandomize=not NIGHTLY,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    seed=st.integers(0, 2**32),
    servers=st.sampled_from([3, 5]),
    spares=st.integers(0, 2),
    faults=FAULTS,
)
def test_every_promise_holds_under_faults_and_the_cluster_converges_after_them(
    seed: int, servers: int, spares: int, faults: Faults
) -> None:
    simulate(seed, servers, spares, faults)


def test_a_healthy_cluster_gets_work_done() -> None:
    """Without faults there is one election, and everything asked for is done."""
    simulation = simulate(1, 5, 0, Faults())
    assert len(simulation.leaders) == 1
    assert len(simulation.committed) > 1000
    assert simulation.reads_confirmed > 200


def test_a_run_is_decided_by_its_seed() -> None:
    def digest(seed: int) -> bytes:
        simulation = simulate(seed, 3, 1, HARSH)
        return simulation.committed[len(simulation.committed)][1]

    assert digest(5) == digest(5)
    assert digest(5) != digest(6)


# ---- Mutants

HARSH = Faults(
    loss=0.02,
    duplication=0.05,
    delay_ns_max=10 * MILLISECOND_NS,
    late=0.05,
    sync_ns_max=50 * MILLISECOND_NS,
    crash_interval_ns=150 * MILLISECOND_NS,
    pause_interval_ns=300 * MILLISECOND_NS,
    partition_interval_ns=200 * MILLISECOND_NS,
    transfer_interval_ns=300 * MILLISECOND_NS,
)


class CommitsBeforeReplication(Raft):
    def propose(self, data: bytes, now_ns: int) -> int:
        index = super().propose(data, now_ns)
        self._commit_to(index)
        return index


class SkipsLogFreshness(Raft):
    def _log_is_up_to_date(self, message: RequestVote | RequestPreVote) -> bool:
        return True


class RepliesBeforeSync(Raft):
    def _when_synced(self, message: Message) -> None:
        self._send_now.append(message)


class CommitsOldTermsByCounting(Raft):
    def _may_commit(self, index: int) -> bool:
        return True


class ReadsWithoutQuorumRound(Raft):
    def _confirmed_round(self) -> int:
        return self._round


class ReadsBeforeOwnTermCommit(Raft):
    @property
    def own_term_is_committed(self) -> bool:
        return self.role is Role.LEADER


class LeaderCountsItselfUnsynced(Raft):
    def _own_match_index(self) -> int:
        return self._log.last_index


class VotesTwice(Raft):
    def _grants_vote(self, message: RequestVote) -> bool:
        return message.term == self.term and self._log_is_up_to_date(message)


class CountsPreVotesAsVotes(Raft):
    def _on_pre_vote_reply(self, message: PreVoteReply) -> None:
        if self.role in (Role.PRE_CANDIDATE, Role.CANDIDATE) and message.granted:
            self._count_vote(message.source, granted=True)


class IgnoresPreviousTerm(Raft):
    def _matches(self, message: AppendEntries) -> bool:
        return message.previous_index <= self._log.last_index


class MatchesOnSending(Raft):
    def _send_entries(self, progress: Progress, entries: tuple[Entry, ...]) -> None:
        super()._send_entries(progress, entries)
        if entries:
            progress.match_index = max(progress.match_index, entries[-1].index)


class AppliesBeforeCommit(Raft):
    def take(self) -> Effects:
        self._commit_to(self._log.last_index)
        return super().take()


MUTANTS: list[tuple[type[Raft], str]] = [
    (CommitsBeforeReplication, "Leader Completeness"),
    (SkipsLogFreshness, "Leader Completeness"),
    (RepliesBeforeSync, "Leader Completeness"),
    (ReadsWithoutQuorumRound, "Linearizable Read"),
    (ReadsBeforeOwnTermCommit, "Linearizable Read"),
    (VotesTwice, "Election Safety"),
    (CountsPreVotesAsVotes, "Election Safety"),
    (IgnoresPreviousTerm, "Log Matching"),
    (MatchesOnSending, "Leader Completeness"),
    (AppliesBeforeCommit, "Leader Completeness"),
]


@pytest.mark.parametrize(("mutant", "name"), MUTANTS, ids=[mutant.__name__ for mutant, _ in MUTANTS])
def test_a_mutant_is_caught(mutant: type[Raft], name: str) -> None:
    """Within a budget of seeds, and by the property that it breaks; the core itself passes them all."""
    caught = []
    for seed in range(60):
        try:
            simulate(seed, 3 if seed % 2 else 5, 0, HARSH, mutant)
        except PropertyViolated as violation:
            caught.append(violation.name)
            if violation.name == name:
                return
        except InvariantViolation as violation:
            caught.append(str(violation))
    pytest.fail(f"{mutant.__name__} was not caught by {name}; but by: {caught}")


# ---- What is too rare to wait for


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


@pytest.mark.parametrize(("core", "is_lost"), [(Raft, False), (LeaderCountsItselfUnsynced, True)])
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
