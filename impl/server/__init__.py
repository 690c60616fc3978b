"""The agent: the asyncio shell around the cores, and the only part that touches the ports.

`agent` puts the parts together; `driver` runs the Raft core; `pool` runs the gossip core; `transport` is the
server port, with `frames` on it; `requests` is what agents ask of each other; `routing` decides who answers.
"""
