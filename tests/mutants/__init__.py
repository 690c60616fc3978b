"""proconsul with one known bug each: what takes the place of a core, of the state machine or of the shell.

Each is a small override, so that it is plain what is broken, and that nothing else is. `agent` runs any of
them as a program. `catalogue` says what finds it in whole agents; `grounds` are the situations in which bare
cores are put to the test, and `hunting` says which bug is to be found where.
"""
