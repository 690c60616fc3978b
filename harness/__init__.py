"""The test machine: histories, generators, worlds, systems under test, the run and its report."""
