"""Faults, their schedules and their composition.

A package is one value: the faults it can do, the generator that schedules them, the final generator that heals
everything, and how to draw it. Targets are specifications (`one`, `majority`, `leader`), never node names.
"""
