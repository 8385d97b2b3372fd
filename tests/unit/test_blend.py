"""How much of a stylized frame is seen: shares, colors and their order, in pictures that can be checked in the head."""

from fractions import Fraction

import numpy as np

from fav.stylize.blend import blend, luma, style_weight, to_uint16, transfer_chroma

EVERY_LEVEL = np.arange(256, dtype=np.uint8)


def flat(*bgr: int) -> np.ndarray:
    return np.full((2, 3, 3), bgr, np.uint8)


def test_whole_share_is_the_stylized_frame_itself_and_none_the_source_itself():
    source, stylized = flat(10, 20, 30), flat(200, 100, 0)
    assert blend(source, stylized, 1.0) is stylized and blend(source, stylized, 0.0) is source


def test_half_a_share_is_the_middle():
    assert (blend(flat(10, 20, 30), flat(20, 40, 30), 0.5) == (15, 30, 30)).all()


def test_each_sample_is_at_the_nearest_level_and_halves_are_at_the_even_one():
    levels = EVERY_LEVEL[::5]
    source, stylized = np.zeros((2, len(levels), len(levels), 3), np.uint8)
    source[...], stylized[...] = levels[:, None, None], levels[None, :, None]
    for share in (0.25, 0.5, 0.75):  # fractions that floating point holds exactly
        exact = [[round((1 - Fraction(share)) * int(a) + Fraction(share) * int(b)) for b in levels] for a in levels]
        assert np.array_equal(blend(source, stylized, share)[..., 1], exact)


def test_mask_shares_pixel_by_pixel():
    mask = np.array([[0, 255, 51], [255, 0, 102]], np.uint8)  # 51 is a fifth of 255
    mixed = blend(flat(0, 0, 0), flat(100, 50, 10), style_weight(1.0, mask))
    assert mixed[..., 0].tolist() == [[0, 100, 20], [100, 0, 40]] and mixed[..., 2].tolist() == [[0, 10, 2], [10, 0, 4]]


def test_white_and_black_of_a_mask_copy_every_level_of_either_frame():
    source, stylized = np.repeat(EVERY_LEVEL, 3).reshape(16, 16, 3), np.repeat(EVERY_LEVEL[::-1], 3).reshape(16, 16, 3)
    mask = np.zeros((16, 16), np.uint8)
    mask[:, 8:] = 255
    mixed = blend(source, stylized, style_weight(1.0, mask))
    assert np.array_equal(mixed[:, :8], source[:, :8]) and np.array_equal(mixed[:, 8:], stylized[:, 8:])


def test_strength_and_mask_are_one_factor():
    mask = np.full((2, 3), 51, np.uint8)
    assert (blend(flat(0, 0, 0), flat(100, 200, 0), style_weight(0.5, mask)) == (10, 20, 0)).all()
    assert style_weight(0.5) == 0.5


def test_luma_of_a_gray_is_the_gray_and_green_is_brightest():
    gray = np.repeat(EVERY_LEVEL, 3).reshape(16, 16, 3)
    assert np.array_equal(luma(gray).ravel(), EVERY_LEVEL)
    assert [int(luma(flat(*bgr))[0, 0]) for bgr in ((255, 0, 0), (0, 255, 0), (0, 0, 255))] == [29, 150, 76]


def test_gray_source_makes_a_colored_painting_gray():
    assert (transfer_chroma(flat(255, 0, 0), flat(128, 128, 128)) == 29).all()


def test_brighter_paint_lifts_all_channels_of_the_source_alike():
    assert (transfer_chroma(flat(110, 110, 110), flat(100, 100, 100)) == 110).all()
    colored = flat(60, 120, 90)
    painted = np.full_like(colored, int(luma(colored)[0, 0]) + 20)
    assert (transfer_chroma(painted, colored) == (80, 140, 110)).all()


def test_painting_of_the_sources_luma_gives_the_source():
    source = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    assert np.array_equal(transfer_chroma(source, source), source)


def test_colors_end_where_levels_end():
    """The source's luma is 31.794: black paint takes 32 off each channel, white paint adds 223."""
    source = flat(30, 30, 36)
    assert (transfer_chroma(flat(0, 0, 0), source) == (0, 0, 4)).all()
    assert (transfer_chroma(flat(255, 255, 255), source) == (253, 253, 255)).all()


def test_sixteen_bits_are_mixed_in_their_own_levels():
    source, stylized = np.zeros((1, 1, 3), np.uint16), np.full((1, 1, 3), 65535, np.uint16)
    assert blend(source, stylized, 0.5)[0, 0, 0] == 32768 and blend(source, stylized, 0.001)[0, 0, 0] == 66
    mask = np.array([[0, 65535, 32768]], np.uint16)
    mixed = blend(np.zeros((1, 3, 3), np.uint16), np.full((1, 3, 3), 1000, np.uint16), style_weight(1.0, mask))
    assert mixed[0, :, 0].tolist() == [0, 1000, 500]


def test_colors_and_brightness_are_the_same_in_eight_bits_and_sixteen():
    source, stylized = flat(90, 120, 60), flat(80, 160, 40)
    moved = transfer_chroma(to_uint16(stylized), to_uint16(source))
    assert np.abs(moved / 257 - transfer_chroma(stylized, source)).max() <= 0.5 and moved.dtype == np.uint16
    assert luma(flat(7, 7, 7)).tolist() == (luma(to_uint16(flat(7, 7, 7))) // 257).tolist()


def test_white_and_black_stay_so_in_sixteen_bits():
    levels = to_uint16(EVERY_LEVEL)
    assert levels[0] == 0 and levels[255] == 65535 and np.array_equal(levels // 257, EVERY_LEVEL)
    assert to_uint16(levels) is levels
