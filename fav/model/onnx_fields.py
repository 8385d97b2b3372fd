"""Parse the fields of an ONNX file, to find out whether it refers to other files. Pure functions.

OpenVINO reads external data from any path that the file contains, also outside its directory. Format: onnx.proto.
"""

from collections.abc import Iterator

from fav.errors import FavError

MAX_FIELDS = 1_000_000
# The fields of each message that are messages themselves, by number. Other fields are ignored.
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
EXTERNAL_DATA, DATA_LOCATION = 13, 14  # field numbers of a tensor


def has_external_data(data: bytes) -> bool:
    """Whether a tensor of an ONNX file is stored in another file. Raises FavError if the file is damaged."""
    pending = [("model", 0, len(data))]
    count = 0
    while pending:
        kind, start, end = pending.pop()
        for number, value in _fields(data, start, end):
            count += 1
            if count > MAX_FIELDS:
                raise FavError(f"expected an ONNX model of at most {MAX_FIELDS} fields, got more")
            if kind == "tensor" and (number == EXTERNAL_DATA or number == DATA_LOCATION and value != 0):
                return True
            if isinstance(value, slice) and (inner := MESSAGES[kind].get(number)):
                pending.append((inner, value.start, value.stop))
    return False


def _fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int | slice]]:
    """Yield the number and the value of each field of a message. A value is a number, or the range of its bytes."""
    position = start
    while position < end:
        key, position = _varint(data, position, end)
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value, position = _varint(data, position, end)
            yield number, value
            continue
        length = {1: 8, 5: 4}.get(wire_type, -1)
        if wire_type == 2:
            length, position = _varint(data, position, end)
        if length < 0 or position + length > end:
            raise FavError("expected an undamaged ONNX model (truncated?), got fields that do not fit")
        yield number, slice(position, position + length)
        position += length


def _varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Decode a number with 7 bits per byte. Returns it and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= end:
            raise FavError("expected an undamaged ONNX model (truncated?), got an end within a number")
        value |= (data[position] & 127) << shift
        position += 1
        if data[position - 1] < 128:
            return value, position
    raise FavError("expected an undamaged ONNX model, got a number of more than 10 bytes")
