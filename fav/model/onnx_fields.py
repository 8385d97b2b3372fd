"""The fields of an ONNX file, as far as they tell whether it names other files; pure.

OpenVINO reads weights from whatever path a file names as its external data, also outside its directory. Format: onnx.proto.
"""

from collections.abc import Iterator

from fav.errors import FavError

MAX_FIELDS = 1_000_000
# What of a message is another one, by its number; all others are left alone.
MESSAGES = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # of a tensor


def names_files(data: bytes) -> bool:
    """Whether a tensor of an ONNX file lies in another file. FavError where the fields make no sense."""
    waiting = [("model", 0, len(data))]
    count = 0
    while waiting:
        kind, start, end = waiting.pop()
        for number, value in _fields(data, start, end):
            count += 1
            if count > MAX_FIELDS:
                raise FavError(f"expected an ONNX model of at most {MAX_FIELDS} fields, got more")
            if kind == "tensor" and (number == EXTERNAL_DATA or number == DATA_LOCATION and value != 0):
                return True
            if isinstance(value, slice) and (inner := MESSAGES[kind].get(number)):
                waiting.append((inner, value.start, value.stop))
    return False


def _fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int | slice]]:
    """The number of each field of a message, and its value: a number, or where its bytes lie."""
    at = start
    while at < end:
        key, at = _varint(data, at, end)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at, end)
            yield number, value
            continue
        length, at = (
            (8, at) if wire == 1 else (4, at) if wire == 5 else _varint(data, at, end) if wire == 2 else (-1, at)
        )
        if length < 0 or at + length > end:
            raise FavError("expected an undamaged ONNX model (truncated?), got fields that do not fit")
        yield number, slice(at, at + length)
        at += length


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A number of 7 bits a byte, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            raise FavError("expected an undamaged ONNX model (truncated?), got an end within a number")
        value |= (data[at] & 127) << shift
        at += 1
        if data[at - 1] < 128:
            return value, at
    raise FavError("expected an undamaged ONNX model, got a number of more than 10 bytes")
