"""What several test modules share, and what they start. No module here holds a test or a fixture."""
