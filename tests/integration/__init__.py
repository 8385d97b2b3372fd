"""Real processes of the program, and whole jobs."""
