"""A job while it runs: `snapshot` reads its state, `eta` estimates the time left, `tui` and `progress` show both."""
