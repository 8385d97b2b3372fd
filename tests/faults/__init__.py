"""What fails, who interferes, and what it must not spoil."""
