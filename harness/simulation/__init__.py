"""What simulation makes possible: scenarios that repeat a run, shrinking, sweeps over seeds, strategies.

scenario    a run as data, and its repetition
script      a scenario's operations as a generator
shrink      a scenario that fails, made small
sweep       many seeds, over all cores
words       scenarios for people: a script to read, a test to paste
strategies  Hypothesis strategies for scenarios and histories
"""
