"""How much of a stylized frame is seen: its colors, and its share beside the source; pure.

The order is fixed: colors first, then the share, which is the strength times the mask. A share that is mixed in
before would be recolored, too; and strength and mask are one factor, so that each sample is rounded once.

Frames are uint8, or uint16 of which 65535 is white: a film of more than 8 bits is mixed in 16.
"""

import numpy as np

LUMA_BGR = np.array((114, 587, 299), np.int32)  # thousandths, ITU-R BT.601: whole, so that all machines round alike


def luma(frame: np.ndarray) -> np.ndarray:
    """The brightness (H, W) of `frame` (H, W, 3) BGR, of its type, to the nearest level. That of a grey is the grey."""
    return ((_luma(frame) + 500) // 1000).astype(frame.dtype)


def deepened(frame: np.ndarray) -> np.ndarray:
    """A frame of any shape, uint8, in uint16; one of uint16 as it is."""
    return frame if frame.dtype == np.uint16 else frame.astype(np.uint16) * 257


def transfer_chroma(stylized: np.ndarray, source: np.ndarray) -> np.ndarray:
    """The luma of `stylized` with the chroma of `source`; all (H, W, 3) BGR of one type.

    Cr and Cb are R - Y and B - Y, scaled, so the source is moved, in all three channels by the same amount, to the
    luma that was painted; what leaves black to white is clipped. Luma and chroma rather than Lab: it is whole-number
    arithmetic, the same on every machine, and Lab's larger gamut of lightness would clip in more places.

    Source: Gatys, Bethge, Hertzmann, Shechtman, "Preserving color in neural artistic style transfer" (2016),
    section 3.2, luminance-only transfer, with YIQ's luma, which is BT.601's.
    """
    step = (_luma(stylized) - _luma(source) + 500) // 1000
    return np.clip(source + step[..., None], 0, _white(source)).astype(source.dtype)


def blend(source: np.ndarray, stylized: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """`source` and `stylized`, both (H, W, 3) of one type, mixed: each sample at the nearest level, halves to the even one.

    share, 0 to 1, is that of the stylized frame: one number, or (H, W). Of 1, it is `stylized` itself, of 0 `source`.
    """
    if np.ndim(share) == 0 and share in (0, 1):
        return stylized if share else source
    weight = np.asarray(share, np.float64)
    # The difference of two levels times 1 or 0 is exact, so the pixels of a mask that are white or black are copies.
    signed = np.int16 if source.dtype == np.uint8 else np.int32
    step = (stylized.astype(signed) - source) * (weight[..., None] if weight.ndim else weight)
    return np.rint(source + step).astype(source.dtype)


def style_weight(strength: float, mask: np.ndarray | None = None) -> float | np.ndarray:
    """The share of style for `blend`: the strength, 0 to 1, times the mask (H, W), white for all, where there is one."""
    return strength if mask is None else strength * mask / _white(mask)


def _white(frame: np.ndarray) -> int:
    return int(np.iinfo(frame.dtype).max)


def _luma(frame: np.ndarray) -> np.ndarray:
    """In thousandths of a level."""
    return frame.astype(np.int32) @ LUMA_BGR
