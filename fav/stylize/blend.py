"""How much of a stylized frame is seen: its colors, and its share beside the source; pure.

The order is fixed: colors first, then the share, which is the strength times the mask. A share that is mixed in
before would be recolored, too; and strength and mask are one factor, so that each sample is rounded once.
"""

import numpy as np

LUMA_BGR = np.array((114, 587, 299), np.int32)  # thousandths, ITU-R BT.601: whole, so that all machines round alike


def luma(frame: np.ndarray) -> np.ndarray:
    """The brightness (H, W) uint8 of `frame` (H, W, 3) uint8 BGR, to the nearest level. That of a grey is the grey."""
    return ((_luma(frame) + 500) // 1000).astype(np.uint8)


def transfer_chroma(stylized: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The luma of `stylized` with the chroma of `source`; all (H, W, 3) uint8 BGR.

    Cr and Cb are R - Y and B - Y, scaled, so the source is moved, in all three channels by the same amount, to the
    luma that was painted; what leaves 0 to 255 is clipped. Luma and chroma rather than Lab: it is whole-number
    arithmetic, the same on every machine, and Lab's larger gamut of lightness would clip in more places.

    Source: Gatys, Bethge, Hertzmann, Shechtman, "Preserving color in neural artistic style transfer" (2016),
    section 3.2, luminance-only transfer, with YIQ's luma, which is BT.601's.
    """
    step = (_luma(stylized) - _luma(source) + 500) // 1000
    return np.clip(source + step[..., None], 0, 255).astype(np.uint8)


def blend(source: np.ndarray, stylized: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """`source` and `stylized`, both (H, W, 3) uint8, mixed: each sample at the nearest level, halves to the even one.

    share, 0 to 1, is that of the stylized frame: one number, or (H, W). Of 1, it is `stylized` itself, of 0 `source`.
    """
    if np.ndim(share) == 0 and share in (0, 1):
        return stylized if share else source
    weight = np.asarray(share, np.float64)
    # The difference of two levels times 1 or 0 is exact, so the pixels of a mask that are white or black are copies.
    step = (stylized.astype(np.int16) - source) * (weight[..., None] if weight.ndim else weight)
    return np.rint(source + step).astype(np.uint8)


def style_weight(strength: float, mask: np.ndarray | None = None) -> float | np.ndarray:
    """The share of style for `blend`: the strength, 0 to 1, times the mask (H, W) uint8, 255 for all, where there is one."""
    return strength if mask is None else strength * mask / 255


def _luma(frame: np.ndarray) -> np.ndarray:
    """In thousandths of a level."""
    return frame.astype(np.int32) @ LUMA_BGR
