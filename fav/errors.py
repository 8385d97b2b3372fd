"""The errors of everything but the job system, which `shared` knows nothing of."""

from shared.errors import UserError, sanitize

__all__ = ["FavError", "sanitize"]


class FavError(UserError):
    """A video, a style, an option or a machine is not as it should be."""
