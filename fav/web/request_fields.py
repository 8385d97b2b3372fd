"""Read the fields of a request: its query, its JSON and its body. Errors say what was expected."""

import json
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from fav.errors import FavError, sanitize
from fav.web.uploads import Upload

BODY_LIMIT = 1 << 20  # bytes of a request that is not a piece of an upload
MAX_SECONDS = 1e6  # of a time in a video
MAX_WIDTH = 100_000  # pixels
THUMBNAIL_WIDTH = 480  # pixels
WIDTHS = (96, 240, 320, 480, 640, 960, 1280, 1920)  # pixels; few widths, so that the cache has most pictures


def number(request: Request, name: str, least: float, most: float, default: float | None = None) -> float:
    """Return a number of the query. Raises FavError if it is not a number from `least` to `most`."""
    text = request.query_params.get(name)
    if text is None and default is not None:
        return default
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        raise FavError(f"{name}: expected a number from {least:g} to {most:g}, got {sanitize(repr(text))}")
    return value


def whole_number(request: Request, name: str, least: int, most: int) -> int:
    """Return a whole number of the query, by default 0. Raises FavError if it is not from `least` to `most`."""
    text = request.query_params.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise FavError(f"{name}: expected a whole number from {least} to {most}, got {sanitize(repr(text))}")
    return int(text)


def seconds(request: Request) -> float:
    """Return the time in a video (`at`), in seconds."""
    return round(number(request, "at", 0, MAX_SECONDS, 0.0), 3)


def width(request: Request) -> int:
    """Return the width of a picture: the smallest of WIDTHS that is at least `w` pixels."""
    wanted = whole_number(request, "w", 0, MAX_WIDTH) or THUMBNAIL_WIDTH
    return next((each for each in WIDTHS if each >= wanted), WIDTHS[-1])


def upload(request: Request) -> Upload:
    """Return the upload that a request continues or discards. Raises FavError if its fields are not valid."""
    query = request.query_params
    fields: dict[str, Any] = {"name": query.get("name")}
    for name in ("size", "changed"):
        fields[name] = whole_number(request, name, 0, 1 << 60)
    return Upload.of(fields)


async def body(request: Request, limit: int) -> bytes:
    """Read the body of a request.

    Raises:
        HTTPException: it has more than `limit` bytes, or another number of bytes than its header says.
    """
    length = request.headers.get("content-length")
    if length is not None and not (length.isascii() and length.isdigit() and len(length) < 20 and int(length) <= limit):
        raise HTTPException(413, f"expected at most {limit} bytes in one request")
    data = bytearray()
    try:
        async for piece in request.stream():
            data += piece
            if len(data) > limit:
                raise HTTPException(413, f"expected at most {limit} bytes in one request")
    except ClientDisconnect:
        raise HTTPException(400, "the connection ended before all bytes had arrived") from None
    if length is not None and len(data) != int(length):
        raise HTTPException(400, "the connection ended before all bytes had arrived")
    return bytes(data)


async def json_fields(request: Request) -> dict:
    """Return the JSON object of a request; an empty body is an empty object. Raises HTTPException for anything else."""
    data = await body(request, BODY_LIMIT)
    try:
        found = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise HTTPException(400, "expected fields as JSON")
    return found
