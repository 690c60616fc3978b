"""proconsul with one known bug each, as programs that take the place of the agent.

`--agent="python tests/mutants/NAME.py"` (with absolute paths) runs one. Each is an override of one method, so
that it is plain what is broken, and that nothing else is.
"""
