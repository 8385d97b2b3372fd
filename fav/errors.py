"""The root of every error that the stylization reports to a user."""


class FavError(Exception):
    """Something a user can understand and cure; its message is one line: where, expected, got, cure."""
