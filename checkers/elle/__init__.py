"""Transactions: which anomalies a history of them has, and which promises these break.

Verifies
    that transactions over lists ("list-append") or registers ("rw-register") could have happened as a
    consistency model promises: from read uncommitted over snapshot isolation to strict serializability, each
    also with the order of sessions or of real time. What is found is named as Adya and Elle name it.
Does not verify
    predicates; what happens inside the database; liveness. For rw-register a reader may have to try both
    orders of two writes to prove a violation: that is not done. A value that nobody wrote may have been there
    before, so in registers it counts only if asked for (`--anomalies=garbage-read`).
Algorithm and source
    Kingsbury & Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations" (VLDB 2020): a
    graph of dependencies, whose cycles are the anomalies. The theory is in `_lists`, `_registers`,
    `_inference`, `_graph` and `cycles`; which anomaly breaks which model in `consistency`.
Complexity
    Lists: linear. Registers: linear in the dependencies times the clients, a few times over.

`python -m checkers.elle`, or `elle-py`, is the command line (`checkers.elle.cli`), with elle-cli's contract.
The harness runs it as a process of its own (`checkers.transactions`).
"""
