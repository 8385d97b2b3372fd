import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fav.errors import FavError
from fav.util.images import HEAD_END, decode_png, encode_png, png_text, read_image, resize
from tests.helpers.material import material

RNG = np.random.default_rng(1)
FRAME = RNG.integers(0, 256, (20, 31, 3), np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (20, 31), (64, 3)])
def test_a_picture_comes_back_as_it_was(shape, dtype):
    picture = RNG.integers(0, np.iinfo(dtype).max, (*shape, 3), dtype, endpoint=True)
    back = decode_png(encode_png(picture))
    assert back.dtype == dtype
    assert np.array_equal(back, picture)


@settings(deadline=None, max_examples=50)
@given(
    st.dictionaries(
        st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=79),
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    )
)
def test_text_comes_back_as_it_was_and_the_picture_too(text):
    data = encode_png(FRAME, text)
    assert png_text(data) == text
    assert np.array_equal(decode_png(data), FRAME)


def test_the_same_arguments_give_the_same_bytes():
    assert encode_png(FRAME, {"a": "1"}) == encode_png(FRAME.copy(), {"a": "1"})


def test_a_view_of_a_picture_is_encoded_too():
    assert np.array_equal(decode_png(encode_png(FRAME[::-2, ::3])), FRAME[::-2, ::3])


def test_the_text_is_where_other_programs_look_for_it():
    """The chunk is laid out as the PNG specification has it, 11.3.4.5."""
    data = encode_png(FRAME, {"title": "né"})
    length, kind = struct.unpack_from(">I4s", data, HEAD_END)
    body = data[HEAD_END + 8 : HEAD_END + 8 + length]
    assert kind == b"iTXt" and body == b"title\0" + b"\0\0" + b"\0" + b"\0" + "né".encode()
    assert struct.unpack_from(">I", data, HEAD_END + 8 + length)[0] == zlib.crc32(kind + body)


@pytest.mark.parametrize("keep", [0, 7, 8, 20, 33, 60, -13, -12, -5, -1])
def test_a_truncated_png_is_refused(keep):
    data = encode_png(FRAME, {"a": "b"})
    with pytest.raises(FavError, match="^PNG: expected"):
        decode_png(data[:keep])


def test_any_flipped_bit_is_refused():
    data = encode_png(FRAME[:4, :4], {"a": "b"})
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 4
        with pytest.raises(FavError):
            decode_png(bytes(damaged))


def test_whole_chunks_around_nonsense_are_refused():
    body = b"IDAT" + b"nonsense"
    chunk = struct.pack(">I", 8) + body + struct.pack(">I", zlib.crc32(body))
    data = encode_png(FRAME)
    with pytest.raises(FavError, match="do not decode"):
        decode_png(data[:HEAD_END] + chunk + data[-12:])


@pytest.mark.parametrize(
    "picture", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_picture_is_not_encoded(picture):
    with pytest.raises(FavError, match="expected an image"):
        encode_png(picture)


@pytest.mark.parametrize("text", [{"": "x"}, {"k" * 80: "x"}, {"é": "x"}, {"a\0": "x"}, {"a": "\0"}])
def test_text_that_png_cannot_hold_is_refused(text):
    with pytest.raises(FavError, match="PNG text"):
        encode_png(FRAME, text)


def test_a_picture_of_the_user_is_read_in_bgr(tmp_path):
    path = tmp_path / "blé d'été.png"
    path.write_bytes(cv2.imencode(".png", FRAME)[1].tobytes())
    assert np.array_equal(read_image(path), FRAME)


def test_gray_and_deep_and_transparent_pictures_become_frames(tmp_path):
    for number, picture in enumerate(
        (FRAME[..., 0], FRAME.astype(np.uint16) * 257, cv2.cvtColor(FRAME, cv2.COLOR_BGR2BGRA))
    ):
        path = tmp_path / f"{number}.png"
        path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        frame = read_image(path)
        assert frame.shape == FRAME.shape and frame.dtype == np.uint8
        assert np.array_equal(frame[..., 0], FRAME[..., 0])


def test_a_painting_is_read():
    assert read_image(material("styles/starry_night.jpg")).shape[2] == 3


def test_what_is_no_picture_is_named(tmp_path):
    text = tmp_path / "text.png"
    text.write_text("hello")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    with pytest.raises(FavError, match="missing.png: No such file"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(FavError, match="expected an image .* got 5 bytes"):
        read_image(text)
    with pytest.raises(FavError, match="got 0 bytes"):
        read_image(empty)
    with pytest.raises(FavError, match="Is a directory"):
        read_image(tmp_path)


def test_shrinking_averages_and_the_same_size_is_the_same_picture():
    board = np.indices((8, 8)).sum(0) % 2 * np.uint8(200)
    frame = np.dstack([board] * 3).astype(np.uint8)
    assert (resize(frame, (4, 4)) == 100).all()
    assert resize(frame, (8, 8)) is frame
    assert resize(frame, (20, 10)).shape == (10, 20, 3)
