"""Pictures as cameras and other programs write them: with EXIF, in every orientation, in every kind of TIFF."""

import struct

import av
import cv2
import numpy as np
import pytest
from av.sidedata.sidedata import Type
from PIL import Image, ImageOps

from fav.errors import FavError
from fav.util.images import read_image
from fav.video import FrameReader, decode, probe
from tests.helpers.clips import X264, ffmpeg, make, taken

QUARTERS = np.kron(np.array([[[200, 40, 40], [40, 200, 40]], [[40, 40, 200], [220, 220, 220]]], np.uint8),
                   np.ones((24, 32, 1), np.uint8))  # fmt: skip
LOSSLESS = {"webp": {"lossless": True}, "jpg": {"quality": 95, "subsampling": 0}}
KINDS = ("jpg", "png", "webp", "tif")


def camera_pictures(directory, kind: str, orientation: int | None = None, count: int = 1) -> str:
    """Numbered pictures with the EXIF of a camera; their pattern. Each is darker than the one before."""
    exif = Image.Exif()
    exif[271], exif[306] = "Canon", "2024:05:01 12:00:00"
    exif.get_ifd(0x8769)[0x9000] = b"0230"
    if orientation:
        exif[274] = orientation
    for number in range(count):
        picture = Image.fromarray(QUARTERS - 8 * np.uint8(number))
        picture.save(directory / f"IMG_{number:04d}.{kind}", exif=exif, **LOSSLESS.get(kind, {}))
    return str(directory / f"IMG_%04d.{kind}")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", [None, *range(1, 9)])
def test_picture_with_exif_is_shown_upright(tmp_path, kind, orientation):
    pattern = camera_pictures(tmp_path, kind, orientation)
    with Image.open(pattern % 0) as picture:
        upright = np.array(ImageOps.exif_transpose(picture).convert("RGB"))[..., ::-1].astype(int)
    ((image,), index, notes) = taken(pattern)
    assert notes == [] and image.shape == upright.shape
    assert np.abs(image - upright).max() <= 2
    assert probe(pattern).rotated == (orientation is not None and orientation >= 5)
    with FrameReader(pattern) as reader:
        assert np.array_equal(reader.read(0, index), image)


@pytest.mark.parametrize("kind", ("jpg", "png", "tif"))
@pytest.mark.parametrize("orientation", range(1, 9))
def test_picture_of_opencv_is_upright_as_well(tmp_path, kind, orientation):
    pattern = camera_pictures(tmp_path, kind, orientation)
    with decode(pattern) as decoding:
        assert np.abs(next(decoding).image().astype(int) - read_image(pattern % 0)).max() <= 2


@pytest.mark.parametrize("container", ("avi", "mov", "mkv"))
def test_frames_of_a_video_may_have_exif(tmp_path, container):
    video = tmp_path / f"camera.{container}"
    ffmpeg("-i", camera_pictures(tmp_path, "jpg", 6, count=3), "-c", "copy", video)
    images, _, notes = taken(video)
    assert (len(images), notes) == (3, []) and images[0].shape == (64, 48, 3)


def test_side_data_of_any_number_has_a_kind():
    for number in (27, 28, 31, 99):
        assert Type(number).value == number
    with pytest.raises(ValueError):
        Type("none")


MATRICES = {  # the upper left part of a display matrix, as (a, b, c, d)
    1: (1, 0, 0, 1), 2: (-1, 0, 0, 1), 3: (-1, 0, 0, -1), 4: (1, 0, 0, -1),
    5: (0, 1, 1, 0), 6: (0, 1, -1, 0), 7: (0, -1, -1, 0), 8: (0, -1, 1, 0),
}  # fmt: skip


@pytest.mark.parametrize("orientation", MATRICES)
def test_mirrored_and_turned_videos_are_upright(tmp_path, orientation):
    plain = make(tmp_path / "plain.mp4", *X264, seconds=0.2)
    data = bytearray(plain.read_bytes())
    at = data.index(b"tkhd") + 4 + 40  # the matrix of the first track
    a, b, c, d = MATRICES[orientation]
    struct.pack_into(">9i", data, at, a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    turned = tmp_path / "turned.mp4"
    turned.write_bytes(data)
    picture = Image.fromarray(taken(plain)[0][0])
    exif = Image.Exif()
    exif[274] = orientation
    picture.getexif().update(exif)
    assert np.array_equal(taken(turned)[0][0], np.array(ImageOps.exif_transpose(picture)))


def tiffs(directory) -> dict[str, np.ndarray]:
    """TIFFs by Pillow, OpenCV and FFmpeg, and what Pillow or OpenCV see in them, BGR."""
    made, picture = {}, Image.fromarray(QUARTERS)
    for compression in (None, "tiff_lzw", "tiff_deflate", "packbits"):
        picture.save(path := directory / f"pillow {compression}.tif", compression=compression, dpi=(300, 300))
        made[str(path)] = QUARTERS[..., ::-1]
    for compression in (1, 5, 8, 32773):
        path = directory / f"opencv {compression}.tif"
        cv2.imwrite(str(path), QUARTERS[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, compression])
        made[str(path)] = QUARTERS[..., ::-1]
    cv2.imwrite(str(path := directory / "opencv 16.tif"), QUARTERS[..., ::-1].astype(np.uint16) * 257)
    made[str(path)] = QUARTERS[..., ::-1]
    for pixels in ("rgb24", "gray", "rgb48le", "rgba"):
        path = directory / f"ffmpeg {pixels}.tif"
        ffmpeg("-f", "lavfi", "-i", "testsrc2=s=64x48", "-frames:v", 1, "-pix_fmt", pixels, "-update", 1, path)
        made[str(path)] = cv2.imread(str(path), cv2.IMREAD_COLOR)
    return made


def test_tiffs_of_every_program_decode(tmp_path):
    for path, wanted in tiffs(tmp_path).items():
        with decode(path) as decoding:
            frames = [frame.image() for frame in decoding]
        assert len(frames) == 1 and decoding.warnings == [], path
        assert np.abs(frames[0].astype(int) - wanted).max() <= 1, path


def test_tiff_that_decodes_in_part_is_damage_and_not_black(tmp_path):
    path = tmp_path / "jpeg.tif"  # a compression that FFmpeg does not know within TIFF
    Image.fromarray(QUARTERS).save(path, compression="jpeg")
    decoder = av.CodecContext.create("tiff", "r")
    assert decoder.decode(av.Packet(path.read_bytes()))[0].to_ndarray(format="gray").max() == 0
    with pytest.raises(FavError, match="no frame of video stream 0 .* decodes"):
        probe(path)


def test_animated_webp_is_refused_and_not_taken_for_one_damaged_image(tmp_path):
    first, *more = (Image.new("RGB", (96, 64), (40 * number, 80, 120)) for number in range(4))
    first.save(tmp_path / "moving.webp", save_all=True, append_images=more, duration=100)
    first.save(tmp_path / "still.webp")
    with pytest.raises(FavError, match=r"got an animated WebP.*-coalesce frame_%04d\.png"):
        decode(tmp_path / "moving.webp")
    with decode(tmp_path / "still.webp") as decoding:
        assert len(list(decoding)) == 1 and decoding.warnings == []
