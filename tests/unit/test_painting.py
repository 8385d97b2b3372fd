"""What is learned from a painting: its grain is measured and taken out, a soft picture stays, a crop is cut."""

import cv2
import numpy as np
import pytest

from fav.errors import FavError
from fav.perceptual.painting import (
    SHARPENED,
    fine_detail,
    read_painting,
    remove_grain,
    speckle,
    transfer_colors,
)
from tests.helpers.training_material import picture


def patches(height: int = 240, width: int = 320) -> np.ndarray:
    """Flat patches of 40 pixels with hard edges, as of a woodcut."""
    colors = np.random.default_rng(1).integers(20, 236, (height // 40, width // 40, 3)).astype(np.uint8)
    return colors.repeat(40, 0).repeat(40, 1)


def grainy(clean: np.ndarray, level: float) -> np.ndarray:
    noise = np.random.default_rng(2).normal(0, level, clean.shape)
    return (clean + noise).round().clip(0, 255).astype(np.uint8)


def saved(path, image: np.ndarray):
    cv2.imwrite(str(path), image)
    return path


def test_fine_detail_of_noise_is_its_deviation_and_of_one_color_nothing():
    gray = np.full((200, 200, 3), 128, np.uint8)
    assert fine_detail(gray) == 0
    assert fine_detail(grainy(gray, 12)) == pytest.approx(12 * (8 / 9) ** 0.5, rel=0.02)


def test_edges_are_no_speckle():
    assert fine_detail(patches()) > 5 and speckle(patches()) < 2
    assert speckle(grainy(patches(), 12)) > 8


@pytest.mark.parametrize("soft", [picture(3, 240, 320), patches()], ids=["blobs", "woodcut"])
def test_a_soft_picture_and_hard_edges_without_grain_stay_as_they_are(tmp_path, soft):
    same, grain = remove_grain(soft)
    assert grain == 0 and np.array_equal(same, soft)
    painting = read_painting(saved(tmp_path / "soft.png", soft))
    assert painting.grain == 0 and np.array_equal(painting.picture, soft) and "used unchanged" in painting.note


@pytest.mark.parametrize("level", [10, 40])
def test_grain_is_taken_out_and_edges_and_colors_stay(level):
    original = patches()
    sharpened = grainy(original, level)
    cleaned, grain = remove_grain(sharpened)
    assert 1 < grain <= 2 and cleaned.shape == original.shape
    inside = np.zeros(original.shape[:2], bool)
    for y in range(0, 240, 40):
        for x in range(0, 320, 40):
            inside[y + 8 : y + 32, x + 8 : x + 32] = True
    errors = [np.abs(image.astype(float) - original)[inside].mean() for image in (sharpened, cleaned)]
    assert errors[1] < 0.6 * errors[0]
    assert speckle(cleaned) < speckle(sharpened) / 3
    edge = np.abs(cleaned[:, 38].astype(float) - cleaned[:, 42]).mean()
    assert edge > 0.85 * np.abs(original[:, 38].astype(float) - original[:, 42]).mean()
    np.testing.assert_allclose(cleaned.mean((0, 1)), sharpened.mean((0, 1)), atol=1.5)
    np.testing.assert_allclose(cleaned.std((0, 1)), sharpened.std((0, 1)), rtol=0.1)


def test_a_sharpened_painting_says_so_unless_it_is_left_alone(tmp_path):
    file = saved(tmp_path / "sharp.png", grainy(patches(), 25))
    painting = read_painting(file)
    assert "this image is sharpened" in painting.note and f"{painting.fine_detail:.1f} gray levels" in painting.note
    raw = read_painting(file, clean=False)
    assert np.array_equal(raw.picture, cv2.imread(str(file))) and raw.grain == 0
    assert raw.fine_detail == painting.fine_detail > SHARPENED


def test_a_painting_is_made_smaller_never_larger(tmp_path):
    file = saved(tmp_path / "soft.png", picture(3, 240, 320))
    assert read_painting(file, 160).picture.shape == (120, 160, 3)
    assert read_painting(file, 2000).picture.shape == (240, 320, 3)


def test_a_crop_is_of_the_files_pixels(tmp_path):
    image = picture(3, 240, 320)
    file = saved(tmp_path / "soft.png", image)
    assert np.array_equal(read_painting(file, crop="30,20,100,80").picture, image[20:100, 30:130])
    for crop, told in {
        "300,0,100,100": "it ends at 400,100", "0,0,20,100": "at least 64 pixels", "1,2,3": "expected X,Y,W,H",
        "0,0,0,9": "expected X,Y,W,H", "-1,0,9,9": "expected X,Y,W,H",
    }.items():  # fmt: skip
        with pytest.raises(FavError, match=told):
            read_painting(file, crop=crop)


def test_colors_are_given_back():
    ours, theirs = picture(1), (picture(2) // 2 + 40).astype(np.uint8)
    back = transfer_colors(ours, theirs).reshape(-1, 3).astype(float)
    np.testing.assert_allclose(back.mean(0), theirs.reshape(-1, 3).mean(0), atol=2)
    np.testing.assert_allclose(np.cov(back.T), np.cov(theirs.reshape(-1, 3).T.astype(float)), rtol=0.15, atol=30)
