"""The root of every error that the stylization reports to a user."""

from shared.errors import LONGEST, plain

__all__ = ["FavError", "plain"]


class FavError(Exception):
    """Something a user can understand and cure; its message is one line: where, expected, got, cure. It is plain, whatever
    it quotes."""

    def __str__(self) -> str:
        return plain(super().__str__(), LONGEST)
