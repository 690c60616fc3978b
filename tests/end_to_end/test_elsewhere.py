"""Where there is no Linux, a bare run is simulated, and says so.

The other system is this one without what only Linux or Unix has; it is no proof for any other.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

ELSEWHERE = """
import multiprocessing.util, os, socket, subprocess, sys, sysconfig, tempfile

sysconfig.get_config_vars()  # of this system, as Python itself must work
NOT_THERE = ("fcntl", "grp", "pty", "pwd", "pyroute2", "resource", "termios", "uvloop")


class NotThere:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NOT_THERE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, NotThere())
sys.platform = "elsewhere"
for name in ("O_CLOEXEC", "O_DIRECTORY", "fdatasync", "fork", "getuid", "sched_getaffinity", "setsid"):
    delattr(os, name)
"""


def test_where_there_is_no_linux_a_bare_run_is_simulated_and_says_so(
    suite: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(ELSEWHERE)
    run = suite(
        "--nemesis=partition", "--workload=register,append", environment={"PYTHONPATH": str(tmp_path)}
    )
    assert run.exit_code == 0, run.output
    assert "simulated, since this machine cannot do netns" in run.output
    assert "it is made of Linux's namespaces, and this is elsewhere" in run.output
    assert run.verdict("register-partition", "linearizable").valid == "valid"
    assert run.verdict("append-partition", "transactions").valid == "valid"
    [report] = (tmp_path / "register-partition").glob("*T*/report.html")
    assert "simulated instead" in report.read_text()
