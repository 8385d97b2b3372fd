"""The state of jobs while they run: `snapshot` reads it once for all views.

`pace` and `eta` estimate the time left. `text`, `schema` (JSON), `tui` and `progress` show both. `actions` is what the
keys of `tui` do. `console` prints the answers of commands.
"""
