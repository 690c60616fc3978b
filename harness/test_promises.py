"""The correctness suite: what the system promises, it keeps, under the nemesis of the command line.

    pytest harness/ --nemesis=partition

One test for each workload (`--workload`) and nemesis (`--nemesis`, `--nightly`); the options are in
`harness.plugin`.
"""

from __future__ import annotations

from harness.plugin import Promise


def test_promise(splitbrain_promise: Promise) -> None:
    """Run the workload against the system under the nemesis; every checker must say `valid`."""
    splitbrain_promise.keep()
