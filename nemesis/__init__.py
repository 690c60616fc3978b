"""Faults and their composition.

What the history says of them (both events of a nemesis operation are `info`; the first carries the target
specification, the second what was really done, in full):

| f                 | value of the first            | value of the second                                 |
|-------------------|-------------------------------|-----------------------------------------------------|
| `start-partition` | `"majorities-ring"`, ...      | `{"target": ..., "cut": [[sender, receiver], ...]}` |
| `stop-partition`  | `None`                        | `{"cut": []}`                                       |
| `start-kill`      | `"leader"`, `"minority"`, ... | `{"target": ..., "nodes": ["n1", ...]}`: now dead   |
| `stop-kill`       | `None`                        | `{"nodes": [...]}`: started again                   |
| `start-pause`     | `"leader"`, `"minority"`, ... | `{"target": ..., "nodes": [...]}`: now stopped      |
| `stop-pause`      | `None`                        | `{"nodes": [...]}`: running again                   |

A fault lasts from the completion of its `start-` to that of its `stop-`. The `stop-`s after the main phase
(`Package.final_generator`) undo whatever is left: the last of them is the final heal.
"""
