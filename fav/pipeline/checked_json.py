"""Records as JSON with a checksum: index segments, surveys and evaluation windows."""

import json
import zlib


def with_checksum(fields: dict) -> bytes:
    """Encode a record as JSON with a checksum, which also detects damage that is valid JSON.

    Raises:
        ValueError: a number is infinite or NaN.
    """
    return json.dumps({**fields, "checksum": _checksum(fields)}, allow_nan=False).encode()


def without_checksum(data: bytes) -> dict:
    """Parse a record of `with_checksum`, or one of an older version without a checksum.

    Raises:
        ValueError, AttributeError, TypeError: it is damaged, or no record.
    """
    fields = json.loads(data)
    expected = fields.pop("checksum", None)
    if expected is not None and expected != _checksum(fields):
        raise ValueError("its checksum differs")
    return fields


def _checksum(fields: dict) -> int:
    return zlib.crc32(json.dumps(fields).encode())
