"""The command lines: `tools` is `python -m fav`, the others are the commands of `coordinator.py`, one file per group.

`options` has the options that make a job, `common` what all commands share. `reference` writes the page of all commands.
"""
