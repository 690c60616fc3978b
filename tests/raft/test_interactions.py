"""Golden scripts: what servers say to each other, step by step, in tests/raft/interactions/*.txt.

A script is a sequence of blocks, each some commands, a line `----`, what came of them, and an empty line. To
write the outcomes anew after a change that is meant to change them:

    REWRITE=1 python -m pytest tests/raft/test_interactions.py

Then read the difference: commit it only if every line of it is understood. (After etcd-io/raft, testdata/ and
interaction_test.go.) Election timeouts are not random here: server N's are 1.N times the minimum.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from impl.raft import (
    AddNonvoter,
    AddVoter,
    AppendEntries,
    AppendReply,
    Config,
    Configuration,
    ConfigurationChange,
    DemoteVoter,
    Effects,
    Entry,
    EntryKind,
    Message,
    ProposalRefused,
    Raft,
    RemoveServer,
    Server,
    Snapshot,
)
from impl.raft.testing import Disk

SCRIPTS = sorted((Path(__file__).parent / "interactions").glob("*.txt"))
MILLISECOND_NS = 1_000_000
CONFIG = Config(append_entries_max=4, snapshot_chunk_bytes=8, trailing_entries=2)


class FixedRandom(Random):
    """Always the same number, so that a script decides who times out first."""

    def __init__(self, value: float) -> None:
        super().__init__(0)
        self._value = value

    def random(self) -> float:
        return self._value


def show_entries(entries: tuple[Entry, ...]) -> str:
    def one(entry: Entry) -> str:
        data = entry.data.decode() if entry.kind == EntryKind.COMMAND else EntryKind(entry.kind).name
        return f"{entry.index}/{entry.term}:{data}"

    return " ".join(one(entry) for entry in entries)


def show(message: Message) -> str:
    """One line: who to whom, what, and the fields that say something."""
    fields = {name: getattr(message, name) for name in message.__struct_fields__[2:]}
    for name in ("sent_ns", "configuration"):
        fields.pop(name, None)
    if isinstance(message, AppendEntries):
        fields["entries"] = f"[{show_entries(message.entries)}]"
        fields["previous"] = f"{fields.pop('previous_index')}/{fields.pop('previous_term')}"
    if isinstance(message, AppendReply) and not message.rejected:
        for name in ("rejected", "hint_index", "hint_term"):
            del fields[name]
    values = " ".join(f"{name}={value}" for name, value in fields.items())
    return f"{message.source}->{message.target} {type(message).__name__} {values}"


class Script:
    """Runs the commands of one file. Nothing happens by itself: messages, disks and clocks wait for a
    command."""

    def __init__(self) -> None:
        self.now_ns = 0
        self.cores: dict[str, Raft] = {}
        self.disks: dict[str, Disk] = {}
        self.network: list[Message] = []
        self.cut: list[tuple[str, str]] = []
        self.lines: list[str] = []

    def run(self, command: str) -> None:
        name, *arguments = command.split()
        handler = getattr(self, f"do_{name.replace('-', '_')}", None)
        if handler is None:
            raise ValueError(f"unknown command: {command}")
        try:
            handler(*arguments)
        except ProposalRefused as refusal:
            self.lines.append(f"refused: {refusal}")

    # Example: quietly settle        the same, of which nothing is shown
    def do_quietly(self, *command: str) -> None:
        before = len(self.lines)
        self.run(" ".join(command))
        del self.lines[before:]

    # Example: bootstrap 1 2 3        servers that know each other from the start
    def do_bootstrap(self, *names: str) -> None:
        configuration = Configuration(tuple(Server(name, f"10.0.0.{name}:8300") for name in names))
        for name in names:
            self.do_start(name)
            self.cores[name].bootstrap(configuration)
        self.do_quietly("settle")

    # Example: start 4        a server, with what its disk holds
    def do_start(self, name: str) -> None:
        disk = self.disks.setdefault(name, Disk(CONFIG.trailing_entries))
        random = FixedRandom(int(name) / 10)
        self.cores[name] = Raft(name, CONFIG, disk.restored(), random, self.now_ns)

    # Example: crash 1        lose what is not synced
    def do_crash(self, name: str) -> None:
        del self.cores[name]
        self.disks[name].crash(0)

    # Example: timeout 1        go on to the server's deadline, and tick it alone
    def do_timeout(self, name: str) -> None:
        self.now_ns = max(self.now_ns, self.cores[name].deadline_ns)
        self.cores[name].tick(self.now_ns)
        self._take(name)

    # Example: elapse 250        so many milliseconds; every server is ticked when it wants, nothing is lost
    def do_elapse(self, milliseconds: str) -> None:
        end_ns = self.now_ns + int(milliseconds) * MILLISECOND_NS
        while True:
            name = min(self.cores, key=lambda name: self.cores[name].deadline_ns)
            if self.cores[name].deadline_ns > end_ns:
                break
            self.do_timeout(name)
            self.do_settle()
        self.now_ns = end_ns

    # Example: propose 1 x=1
    def do_propose(self, name: str, data: str) -> None:
        index = self.cores[name].propose(data.encode(), self.now_ns)
        self.lines.append(f"{name} proposed {index}/{self.cores[name].term}")

    # Example: take 1        carry out what the server wants; its writes still wait for `sync`
    def do_take(self, name: str) -> None:
        self._take(name)

    # Example: sync 1        its writes are on disk
    def do_sync(self, name: str) -> None:
        self._sync(name)

    # Example: deliver 1 2        what server 1 sent to server 2
    def do_deliver(self, source: str, target: str) -> None:
        ready = [message for message in self.network if (message.source, message.target) == (source, target)]
        self.network = [message for message in self.network if message not in ready]
        for message in ready:
            self._deliver(message)

    # Example: drop 1 2
    def do_drop(self, source: str, target: str) -> None:
        self.network = [m for m in self.network if (m.source, m.target) != (source, target)]

    # Example: cut 1 2        both ways, until `heal`
    def do_cut(self, one: str, other: str) -> None:
        self.cut += [(one, other), (other, one)]

    def do_heal(self) -> None:
        self.cut = []

    # Example: settle        take, sync and deliver until nothing is left to do
    def do_settle(self) -> None:
        busy = True
        while busy:
            busy = False
            for name in list(self.cores):
                busy |= self._take(name) | self._sync(name)
            pending, self.network = self.network, []
            for message in pending:
                self._deliver(message)
                busy = True

    # Example: read 1 7        a linearizable read at server 1, called 7
    def do_read(self, name: str, request: str) -> None:
        self.cores[name].read_index(int(request), self.now_ns)

    # Example: transfer 1 2
    def do_transfer(self, name: str, target: str) -> None:
        self.cores[name].transfer_leadership(target, self.now_ns)

    # Example: change 1 add-voter 4        or add-nonvoter, demote, remove
    def do_change(self, name: str, what: str, target: str) -> None:
        address = f"10.0.0.{target}:8300"
        changes: dict[str, ConfigurationChange] = {
            "add-voter": AddVoter(target, address),
            "add-nonvoter": AddNonvoter(target, address),
            "demote": DemoteVoter(target),
            "remove": RemoveServer(target),
        }
        index = self.cores[name].propose_configuration(changes[what], self.now_ns)
        self.lines.append(f"{name} proposed {index}/{self.cores[name].term}")

    # Example: compact 1        a snapshot of all it has applied
    def do_compact(self, name: str) -> None:
        core = self.cores[name]
        index = core.applied_index
        state = f"state at {index}".encode()
        snapshot = Snapshot(index, core.term_at(index), core.configuration_at(index), state)
        self.disks[name].compact(snapshot)
        core.compact(snapshot)

    def do_status(self) -> None:
        for name, core in self.cores.items():
            members = " ".join(s.id if s.voter else f"({s.id})" for s in core.configuration.servers)
            self.lines.append(
                f"{name} {core.role.value} term={core.term} leader={core.leader} "
                f"commit={core.commit_index} last={core.last_index} members={members}"
            )

    def _take(self, name: str) -> bool:
        core = self.cores[name]
        busy = False
        while effects := core.take():
            busy = True
            self._record(name, effects)
            self.network += effects.send_now
            if effects.must_sync or effects.send_after_sync:
                self.disks[name].writing.append(effects)
            if effects.snapshot is not None:
                core.applied(effects.snapshot.index)
            if effects.apply:
                core.applied(effects.apply[-1].index)
        return busy

    def _record(self, name: str, effects: Effects) -> None:
        lines = [f"send {show(message)}" for message in effects.send_now]
        if effects.hard_state is not None:
            lines.append(f"write term={effects.hard_state.term} vote={effects.hard_state.vote}")
        if effects.snapshot is not None:
            lines.append(f"write snapshot {effects.snapshot.index}/{effects.snapshot.term}")
        if effects.entries:
            lines.append(f"write {show_entries(effects.entries)}")
        lines += [f"after sync send {show(message)}" for message in effects.send_after_sync]
        if effects.apply:
            lines.append(f"apply {show_entries(effects.apply)}")
        lines += [f"read {request} at {index}" for request, index in effects.reads]
        lines += [f"read {request} failed" for request in effects.reads_failed]
        self.lines += [f"{name}: {line}" for line in lines]

    def _sync(self, name: str) -> bool:
        disk, core = self.disks[name], self.cores[name]
        busy = bool(disk.writing)
        while disk.writing:
            effects = disk.complete()
            assert isinstance(effects, Effects)
            core.synced(effects.batch, self.now_ns)
            self.network += effects.send_after_sync
        if busy:
            self._take(name)
        return busy

    def _deliver(self, message: Message) -> None:
        if message.target in self.cores and (message.source, message.target) not in self.cut:
            self.cores[message.target].receive(message, self.now_ns)
            self._take(message.target)
        else:
            self.lines.append(f"lost {show(message)}")


def perform(text: str) -> str:
    """The script with the outcomes as they are."""
    script = Script()
    blocks = []
    for block in text.strip().split("\n\n"):
        head = block.partition("\n----")[0]
        commands = [line for line in head.splitlines() if line and not line.startswith("#")]
        if not commands:
            blocks.append(head)
            continue
        script.lines = []
        for command in commands:
            script.run(command)
        blocks.append("\n".join([head, "----", *script.lines]))
    return "\n\n".join(blocks) + "\n"


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_servers_act_as_the_script_says(path: Path) -> None:
    expected = path.read_text()
    actual = perform(expected)
    if os.environ.get("REWRITE") == "1":
        path.write_text(actual)
    else:
        assert actual == expected


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 8
