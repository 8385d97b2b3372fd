"""The operator's commands, one file a group: `jobs` (a job's life), `run` with `scout` (is each host fit?) and `hosts` (nodes
there, by ssh), `status`, and `nodes`. What they have in common is in `doors`.
"""
