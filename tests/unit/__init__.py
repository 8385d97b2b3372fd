"""Functions and classes, in this process."""
