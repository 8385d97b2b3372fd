"""A job while it runs: `snapshot` reads its state once for every view.

`pace` and `eta` estimate the time left. `text`, `schema` (JSON), `tui` and `progress` show both.
"""
