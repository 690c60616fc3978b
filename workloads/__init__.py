"""Client, generator and checker for one promise each: one file per promise.

`registry()` names them all.
"""
