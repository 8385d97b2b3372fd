"""The error of `fav`. The job system in `shared` has errors of its own; both have the root `UserError`."""

from shared.errors import TYPES_BY_ERRNO, UserError, file_type, sanitize

__all__ = ["TYPES_BY_ERRNO", "FavError", "file_type", "sanitize"]


class FavError(UserError):
    """A video, a style, an option or a machine is not as expected. The message says what was expected, and the cure."""
