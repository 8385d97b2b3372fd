"""A job while it runs, on the screen: `forecast` (time left), `look` (reads the share), `screen` (shows it, full screen)."""
