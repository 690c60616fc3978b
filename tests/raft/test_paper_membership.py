"""The paper's sentences on membership changes, one test each (section 6; thesis chapter 4).

Raft here changes one server at a time (thesis section 4.1), not by joint consensus (section 6). Sources as in
test_paper_elections.py.
"""

import pytest

from impl.raft import (
    AddNonvoter,
    AddVoter,
    AppendEntries,
    AppendReply,
    Config,
    Configuration,
    ConfigurationChange,
    ConfigurationChangeRefused,
    DemoteVoter,
    Entry,
    EntryKind,
    HardState,
    Raft,
    RemoveServer,
    RequestVote,
    Role,
    VoteReply,
    decode_configuration,
    encode_configuration,
)
from impl.raft.membership import changed
from impl.raft.testing import candidate, follower, leader, members, settle

LATER = 10 * Config().heartbeat_timeout_ns


def acknowledge(raft: Raft, source: str, index: int) -> None:
    raft.receive(AppendReply(source, raft.id, raft.term, rejected=False, index=index), raft._now_ns)


def established(raft: Raft) -> int:
    now_ns = leader(raft)
    settle(raft)
    for voter in raft.configuration.voters:
        if voter != raft.id:
            acknowledge(raft, voter, raft.last_index)
    settle(raft)
    return now_ns


def configured(index: int, term: int, configuration: Configuration) -> Entry:
    return Entry(index, term, int(EntryKind.CONFIGURATION), encode_configuration(configuration))


def test_a_configuration_is_in_force_as_soon_as_it_is_in_the_log() -> None:
    """4.1: The new configuration takes effect on each server as soon as it is added to that server's
    log."""
    raft = follower()
    now_ns = established(raft)
    index = raft.propose_configuration(AddVoter("4", "10.0.0.4:8300"), now_ns)
    assert raft.configuration == members("1", "2", "3", "4")
    settle(raft)
    acknowledge(raft, "2", index)
    assert raft.commit_index == index - 1  # Three of four are needed now.
    acknowledge(raft, "3", index)
    assert raft.commit_index == index

    other = follower("2")
    entry = configured(1, 1, members("1", "2", "3", "4"))
    other.receive(AppendEntries("1", "2", 1, 0, 0, (entry,), 0, 0, 0), LATER)
    assert other.configuration == members("1", "2", "3", "4")


def test_a_truncated_configuration_is_rolled_back() -> None:
    """4.1: a server must be prepared to fall back to the previous configuration in its log."""
    raft = follower("2")
    entry = configured(1, 1, members("1", "2", "3", "4"))
    raft.receive(AppendEntries("1", "2", 1, 0, 0, (entry,), 0, 0, 0), LATER)
    noop = Entry(1, 2, int(EntryKind.NOOP), b"")
    raft.receive(AppendEntries("3", "2", 2, 0, 0, (noop,), 0, 0, 0), LATER)
    assert raft.configuration == members("1", "2", "3")


def test_one_change_waits_for_the_one_before_it() -> None:
    """4.1: a leader [must not] begin a configuration change while a previous one is uncommitted."""
    raft = follower()
    now_ns = established(raft)
    index = raft.propose_configuration(AddVoter("4", "10.0.0.4:8300"), now_ns)
    with pytest.raises(ConfigurationChangeRefused, match=f"change at {index} is not yet committed"):
        raft.propose_configuration(RemoveServer("2"), now_ns)
    settle(raft)
    for source in "23":
        acknowledge(raft, source, index)
    raft.propose_configuration(RemoveServer("2"), now_ns)


def test_a_change_waits_for_a_commit_of_the_leaders_own_term() -> None:
    """The correction of 4.1 (raft-dev, 2015-07-10): a leader may not append a new configuration entry
    until it has committed an entry from its current term."""
    raft = follower()
    now_ns = leader(raft)
    settle(raft)
    with pytest.raises(ConfigurationChangeRefused, match="not yet committed an entry of its term"):
        raft.propose_configuration(AddVoter("4", "10.0.0.4:8300"), now_ns)


def test_the_leader_counts_votes_and_replicas_by_its_own_latest_configuration() -> None:
    """4.1: Raft servers use the latest configuration in their log, committed or not; so a non-voter's vote,
    or a stranger's, is none."""
    raft = follower(configuration=members("1", "2", "3", nonvoters=("4",)))
    now_ns = candidate(raft)
    settle(raft)
    for stranger in "49":
        raft.receive(VoteReply(stranger, "1", 2, granted=True), now_ns)
    assert raft.leader is None
    raft.receive(VoteReply("3", "1", 2, granted=True), now_ns)
    assert raft.role is Role.LEADER
    settle(raft)
    for stranger in "49":
        acknowledge(raft, stranger, 1)
    assert raft.commit_index == 0


def test_non_voters_receive_the_log() -> None:
    """4.2.1: a new server joins the cluster as a non-voting member. The leader replicates log entries to it,
    but it is not yet counted towards majorities."""
    raft = follower(configuration=members("1", "2", "3", nonvoters=("4",)))
    leader(raft)
    assert [message.target for message in settle(raft)] == ["2", "3", "4"]


def test_a_non_voter_or_removed_server_never_campaigns() -> None:
    """4.2.2 and 4.2.3: it could only disturb."""
    for raft in (follower("4", members("1", "2", "3", nonvoters=("4",))), follower("9")):
        raft.tick(LATER)
        assert (raft.role, settle(raft)) == (Role.FOLLOWER, [])


def test_a_vote_is_granted_to_a_candidate_outside_the_own_configuration() -> None:
    """4.1: a server also grants its vote to a candidate that is not part of the server's latest
    configuration (if the candidate has a sufficiently up-to-date log and a current term)."""
    raft = follower()
    raft.receive(RequestVote("9", "1", 2, 0, 0), LATER)
    assert settle(raft) == [VoteReply("1", "9", 2, granted=True)]


def test_entries_are_accepted_from_a_leader_outside_the_own_configuration() -> None:
    """4.1: a server accepts AppendEntries requests from a leader that is not part of the server's latest
    configuration; otherwise a new server could never be added."""
    raft = follower("4", Configuration(), term=0)
    entry = configured(1, 1, members("1"))
    raft.receive(AppendEntries("1", "4", 1, 0, 0, (entry,), 0, 0, 0), LATER)
    assert raft.last_index == 1


def test_a_leader_that_removes_itself_steps_down_once_that_is_committed() -> None:
    """4.2.2: a leader that is removed from the configuration steps down once the Cnew entry is
    committed."""
    raft = follower()
    now_ns = established(raft)
    index = raft.propose_configuration(RemoveServer("1"), now_ns)
    settle(raft)
    assert raft.role is Role.LEADER
    acknowledge(raft, "2", index)
    # 4.2.2: "it replicates log entries but does not count itself in majorities".
    assert (raft.role, raft.commit_index) == (Role.LEADER, index - 1)
    acknowledge(raft, "3", index)
    assert raft.commit_index == index
    assert raft.leader is None
    raft.tick(raft._now_ns + LATER)
    assert settle(raft) == []


def test_a_new_server_is_probed_and_caught_up() -> None:
    """4.2.1: it starts with an empty log."""
    raft = follower(log=(1, 1, 1))
    now_ns = established(raft)
    raft.propose_configuration(AddNonvoter("4", "10.0.0.4:8300"), now_ns)
    new = follower("4", Configuration(), term=0)
    for _ in range(4):
        raft.tick(raft.deadline_ns)
        for message in settle(raft):
            if message.target == "4":
                new.receive(message, raft._now_ns)
        for message in settle(new):
            raft.receive(message, raft._now_ns)
    assert new.last_index == raft.last_index
    assert new.configuration == members("1", "2", "3", nonvoters=("4",))


@pytest.mark.parametrize(
    ("change", "result"),
    [
        (AddVoter("4", "10.0.0.4:8300"), members("1", "2", "3", "4")),
        (AddNonvoter("4", "10.0.0.4:8300"), members("1", "2", "3", nonvoters=("4",))),
        (AddNonvoter("3", "10.0.0.3:8300"), members("1", "2", "3")),
        (DemoteVoter("3"), members("1", "2", nonvoters=("3",))),
        (RemoveServer("3"), members("1", "2")),
    ],
)
def test_a_change_changes_one_server(change: ConfigurationChange, result: Configuration) -> None:
    assert changed(members("1", "2", "3"), change) == result
    assert decode_configuration(encode_configuration(result)) == result


@pytest.mark.parametrize(
    ("configuration", "change", "why"),
    [
        (members("1", "2"), AddVoter("3", "10.0.0.2:8300"), "address 10.0.0.2:8300 belongs to server 2"),
        (members("1", "2"), RemoveServer("3"), "server 3 is not in the configuration"),
        (members("1"), RemoveServer("1"), "no voter"),
        (members("1", nonvoters=("2",)), DemoteVoter("1"), "no voter"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(
    configuration: Configuration, change: ConfigurationChange, why: str
) -> None:
    with pytest.raises(ConfigurationChangeRefused, match=why):
        changed(configuration, change)


def test_bootstrapping_writes_the_same_first_entry_everywhere() -> None:
    """As in hashicorp/raft (BootstrapCluster): term 1, index 1."""
    batches = []
    for name in "12":
        raft = follower(name, Configuration(), term=0)
        raft.bootstrap(members("1", "2"))
        effects = raft.take()
        assert effects.hard_state == HardState(1, None)
        batches.append(effects.entries)
    assert batches[0] == batches[1] == (configured(1, 1, members("1", "2")),)


def test_a_server_with_a_past_cannot_be_bootstrapped() -> None:
    with pytest.raises(ConfigurationChangeRefused, match="of a cluster already: term 3"):
        follower(term=3).bootstrap(members("1"))
    with pytest.raises(ConfigurationChangeRefused, match="needs a voter"):
        follower(term=0).bootstrap(Configuration())
