"""Blend a stylized frame with its source: chroma transfer, then a weighted mixture; pure.

The weight is the strength times the mask, in one factor, so that each sample is rounded once. The mixture comes last:
otherwise the source's part would be recolored, too.
"""

import numpy as np

LUMA_BGR = np.array((114, 587, 299), np.int32)  # thousandths, ITU-R BT.601: whole, so that all machines round alike


def luma(frame: np.ndarray) -> np.ndarray:
    """The brightness (H, W) uint8 of `frame` (H, W, 3) uint8 BGR, to the nearest level. That of a grey is the grey."""
    return ((_luma(frame) + 500) // 1000).astype(np.uint8)


def transfer_chroma(stylized: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The luma of `stylized` with the chroma of `source`; all (H, W, 3) uint8 BGR.

    Cr and Cb are R - Y and B - Y, scaled. So the same amount is added to all three channels of the source, to reach the
    luma of `stylized`; values outside 0 to 255 are clipped. This needs only integers, so it is the same on every
    machine, and it clips fewer pixels than Lab.

    Source: Gatys, Bethge, Hertzmann, Shechtman, "Preserving color in neural artistic style transfer" (2016),
    section 3.2, luminance-only transfer, with YIQ's luma, which is BT.601's.
    """
    step = (_luma(stylized) - _luma(source) + 500) // 1000
    return np.clip(source + step[..., None], 0, 255).astype(np.uint8)


def blend(source: np.ndarray, stylized: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """Mix `source` and `stylized`, both (H, W, 3) uint8. Each sample is rounded to the nearest level, halves to even.

    `share` is the weight of the stylized frame, 0 to 1: a number, or an array (H, W). 1 returns `stylized` itself, 0
    `source`.
    """
    if np.ndim(share) == 0 and share in (0, 1):
        return stylized if share else source
    weight = np.asarray(share, np.float64)
    # The difference of two levels times 1 or 0 is exact, so the pixels of a mask that are white or black are copies.
    step = (stylized.astype(np.int16) - source) * (weight[..., None] if weight.ndim else weight)
    return np.rint(source + step).astype(np.uint8)


def style_weight(strength: float, mask: np.ndarray | None = None) -> float | np.ndarray:
    """The weight for `blend`: the strength, 0 to 1, times the mask (H, W) uint8 / 255, if there is one."""
    return strength if mask is None else strength * mask / 255


def _luma(frame: np.ndarray) -> np.ndarray:
    """Luma in thousandths of a level."""
    return frame.astype(np.int32) @ LUMA_BGR
