"""Blend a stylized frame with its source: chroma transfer, then a weighted mean; pure.

The weight is the strength times the mask, in one factor, so that each sample is rounded once. Blending comes last:
otherwise the source's colors would also be changed.

Frames are uint8, or uint16 where 65535 is white: a film of more than 8 bits is blended in 16 bits.
"""

import numpy as np

LUMA_BGR = np.array((114, 587, 299), np.int32)  # thousandths, ITU-R BT.601: integers, so that all machines round alike


def luma(frame: np.ndarray) -> np.ndarray:
    """The luma (H, W) of `frame` (H, W, 3) BGR, in its type, rounded. For gray pixels, it is the gray level."""
    return ((_luma(frame) + 500) // 1000).astype(frame.dtype)


def to_uint16(frame: np.ndarray) -> np.ndarray:
    """Convert a uint8 frame of any shape to uint16, where 65535 is white. A uint16 frame is returned unchanged."""
    return frame if frame.dtype == np.uint16 else frame.astype(np.uint16) * 257


def transfer_chroma(stylized: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The luma of `stylized` with the chroma of `source`; all (H, W, 3) BGR of one type.

    Cr and Cb are R - Y and B - Y, scaled. So the same amount is added to all three channels of the source to get the
    luma of `stylized`; values below black and above white are clipped. Integers give the same result on every machine,
    and fewer pixels are clipped than with Lab.

    Source: Gatys, Bethge, Hertzmann, Shechtman, "Preserving color in neural artistic style transfer" (2016),
    section 3.2, luminance-only transfer, with YIQ's luma, which is BT.601's.
    """
    step = (_luma(stylized) - _luma(source) + 500) // 1000
    return np.clip(source + step[..., None], 0, _white(source)).astype(source.dtype)


def blend(source: np.ndarray, stylized: np.ndarray, weight: float | np.ndarray) -> np.ndarray:
    """The weighted mean of two frames. Each sample is rounded to the nearest level, halves to even.

    Args:
        source: (H, W, 3) uint8 or uint16.
        stylized: as `source`.
        weight: of the stylized frame, 0 to 1: a number, or an array (H, W). 1 returns `stylized` itself, 0 `source`.
    """
    if np.ndim(weight) == 0 and weight in (0, 1):
        return stylized if weight else source
    weights = np.asarray(weight, np.float64)
    # A difference of two levels times 1 or 0 is exact. So pixels are copied where a mask is white or black.
    signed = np.int16 if source.dtype == np.uint8 else np.int32
    step = (stylized.astype(signed) - source) * (weights[..., None] if weights.ndim else weights)
    return np.rint(source + step).astype(source.dtype)


def style_weight(strength: float, mask: np.ndarray | None = None, mask_strength: float = 1.0) -> float | np.ndarray:
    """The weight for `blend`: the strength times the mask.

    Args:
        strength: 0 to 1.
        mask: (H, W), white is 1; None: 1 everywhere.
        mask_strength: 0 to 1; how much the mask counts. With 0 it is 1 everywhere.
    """
    if mask is None or mask_strength == 0:
        return strength
    if mask_strength == 1:
        return strength * mask / _white(mask)
    return strength * (1 - mask_strength * (1 - mask / _white(mask)))


def _white(frame: np.ndarray) -> int:
    return int(np.iinfo(frame.dtype).max)


def _luma(frame: np.ndarray) -> np.ndarray:
    """Luma in thousandths of a level."""
    return frame.astype(np.int32) @ LUMA_BGR
