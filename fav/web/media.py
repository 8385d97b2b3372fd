"""Responses with pictures and films. Films are sent in ranges, as players request them. Pictures are cached."""

import os
import re
from collections import OrderedDict
from collections.abc import AsyncIterator
from io import FileIO
from pathlib import Path
from urllib.parse import quote

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from fav.web.places import open_inside

BLOCK = 1 << 18  # bytes of one read
RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
# For documents in a sandbox. Browsers do not show them with another policy, and the sandbox already isolates them.
NO_OPENER = "unsafe-none"
TYPES = {
    ".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".mkv": "video/x-matroska", ".webm": "video/webm",
    ".csv": "text/csv; charset=utf-8", ".txt": "text/plain; charset=utf-8", ".json": "application/json", ".png": "image/png",
}  # fmt: skip


def file_response(request: Request, root: Path, path: Path, download: bool = False) -> Response:
    """Respond with a file of the shared directory, or the requested range of it. Raises FavError if it may not be read."""
    file = FileIO(open_inside(root, path))  # closed by the garbage collector if the response is never sent
    info = os.fstat(file.fileno())
    size, tag = info.st_size, f'"{info.st_mtime_ns:x}-{info.st_size:x}"'
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Content-Type": TYPES.get(path.suffix.lower(), "application/octet-stream"),
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cross-Origin-Opener-Policy": NO_OPENER,
    }
    if download:
        headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(path.name, safe='')}"
    start, stop, status = 0, size, 200
    asked = request.headers.get("range", "")
    if asked and request.headers.get("if-range", tag) == tag:
        part = _part(asked, size)
        if part is not None and part[0] >= part[1]:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        if part is not None:
            (start, stop), status = part, 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["Content-Length"] = str(stop - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return StreamingResponse(_blocks(file, start, stop), status, headers)


def _part(asked: str, size: int) -> tuple[int, int] | None:
    """Parse a Range header: [start, stop), empty if the file has no such range; None if the header is to be ignored."""
    form = RANGE.fullmatch(asked.strip())
    if form is None or form[0] == "bytes=-":
        return None
    first, last = form.groups()
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    return start, stop


async def _blocks(file: FileIO, start: int, stop: int) -> AsyncIterator[bytes]:
    with file:
        while start < stop:
            data = await anyio.to_thread.run_sync(os.pread, file.fileno(), min(BLOCK, stop - start), start)
            if not data:
                return  # the file was truncated: the connection ends early
            start += len(data)
            yield data


class Cache:
    """A cache of responses by key. The least recently used ones are removed above `limit` bytes."""

    def __init__(self, limit: int = 96 << 20):
        self.limit, self.size = limit, 0
        self._kept: OrderedDict[tuple, tuple[bytes, dict[str, str]]] = OrderedDict()

    def get(self, key: tuple) -> tuple[bytes, dict[str, str]] | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: tuple, data: bytes, headers: dict[str, str]) -> None:
        if key in self._kept:
            self.size -= len(self._kept.pop(key)[0])
        self._kept[key] = data, headers
        self.size += len(data)
        while self.size > self.limit and len(self._kept) > 1:
            self.size -= len(self._kept.popitem(last=False)[1][0])
