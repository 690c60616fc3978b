"""What every world must do, tested from outside: one check for each promise of `Cluster`.

A world is tested by running every check that applies to it:

    @pytest.mark.parametrize("check", conformance.checks_of(MyWorld()), ids=str)
    def test_it_conforms(check, tmp_path):
        world = MyWorld()
        world.run(check(world, tmp_path))

Each check opens a cluster of three nodes of its own and closes it. A broken promise is an AssertionError.

How it looks: a probe, a small Python program, runs as the node's process. The check talks to it as a client
does, and has it send datagrams to other nodes, keep streams to them, write files, fork daemons, or die. So
nothing is believed that the world says about itself. A world whose nodes cannot run `PROBE` brings a program
that answers the same requests, as `harness.worlds.sim.probe` does.

That something does not arrive is shown by datagrams, of which a cut may let through none, sent before others
that must arrive; TCP would hide what is lost in one direction only. Where only time can show that nothing
happens, `SILENCE_SECONDS` is that time.
"""

from harness.worlds.conformance import links, machines, processes
from harness.worlds.conformance.suite import CHECKS, DAEMON_PORT, PROBE, PROBE_ARGV, Check, Probes, checks_of

__all__ = [
    "CHECKS",
    "DAEMON_PORT",
    "PROBE",
    "PROBE_ARGV",
    "Check",
    "Probes",
    "checks_of",
    "links",
    "machines",
    "processes",
]
