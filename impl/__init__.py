"""proconsul: a reference implementation of the architecture of HashiCorp Consul.

Imports nothing else of this repository, so that the harness tests it as it would any other program.
"""
