"""Convert HDR video to SDR by tone mapping. Networks are trained on SDR images.

PQ and HLG: ITU-R BT.2100. Tone mapping: the EETF of ITU-R BT.2390, applied to the largest of red, green and blue, which
keeps the hue. Display: BT.1886. Reference white: BT.2408. Tables and elementwise float32 operations give the same
result on all processors.
"""

from functools import cache

import numpy as np

PQ, HLG = 16, 18  # transfer characteristics
MAPPING = "BT.2390 tone mapping of 1000 cd/m² to 203 cd/m²"
PEAK, WHITE = 1000.0, 203.0  # cd/m²: the assumed peak of the mastering display, and the luminance of SDR white
GAMMA = 2.4
CODES = 1 << 16
LUMA_2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)  # red, green, blue
TO_709 = {  # by H.273 number: matrices from BT.2020 (9) and P3 with white D65 (12), for linear light in RGB order
    9: ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132900, -0.008349), (-0.018151, -0.100579, 1.118730)),
    12: ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274)),
}  # fmt: skip


def to_sdr(
    red: np.ndarray,
    green: np.ndarray,
    blue: np.ndarray,
    white: int,
    transfer: int,
    primaries: int,
    sixteen_bit: bool = False,
) -> np.ndarray:
    """Convert an HDR image to SDR.

    Args:
        red: (H, W) uint16 code values of full range.
        green: as `red`.
        blue: as `red`.
        white: the code value of 1.
        transfer: PQ or HLG.
        primaries: of the source, as H.273 numbers them; others are treated as BT.2020.
        sixteen_bit: return uint16, where 65535 is white.

    Returns:
        (H, W, 3) uint8 or uint16, BGR.
    """
    # PQ: luminance in cd/m². HLG: scene light from 0 to 1.
    light = [_light(white, transfer)[channel] for channel in (red, green, blue)]
    if transfer == HLG:
        luma = np.asarray(sum(weight * channel for weight, channel in zip(LUMA_2020, light)))
        gain = _table(luma, 1.0, _hlg_gain())
        light = [channel * gain for channel in light]
    scale = _table(np.maximum(np.maximum(light[0], light[1]), light[2]), 10_000.0, _tone_map_gain())
    light = [channel * scale for channel in light]
    if primaries != 1:
        rows = np.array(TO_709.get(primaries, TO_709[9]), np.float32)
        light = [row[0] * light[0] + row[1] * light[1] + row[2] * light[2] for row in rows]
    if sixteen_bit:
        return np.stack([_table(channel, 1.0, _display16()) for channel in reversed(light)], axis=-1)
    codes = [np.rint(np.clip(channel, 0, 1) * np.float32(CODES - 1)).astype(np.uint16) for channel in light]
    return np.stack([_display8()[channel] for channel in reversed(codes)], axis=-1)


def _table(values: np.ndarray, top: float, table: np.ndarray) -> np.ndarray:
    """Look up values in [0, top] in a table. It is evenly spaced in the fourth root, so it is denser in dark tones."""
    places = np.sqrt(np.sqrt(np.clip(values, 0, top) * np.float32(1 / top))) * np.float32(len(table) - 1)
    return table[np.rint(places).astype(np.int32)]


@cache
def _light(white: int, transfer: int) -> np.ndarray:
    """Table from code value to light: cd/m² for PQ, scene light from 0 to 1 for HLG."""
    code = np.minimum(np.arange(CODES) / white, 1.0)
    if transfer == PQ:
        return np.asarray(_pq_light(code), np.float32)
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.asarray(np.where(code <= 0.5, code * code / 3, (np.exp((code - c) / a) + b) / 12), np.float32)


@cache
def _hlg_gain() -> np.ndarray:
    """Table from scene light to the gain to cd/m², for a display with peak PEAK and system gamma 1.2."""
    return np.asarray(PEAK * np.linspace(0, 1, CODES) ** (4 * 0.2), np.float32)


@cache
def _tone_map_gain() -> np.ndarray:
    """Table from the largest channel (0 to 10,000 cd/m²) to a gain. Multiplied light has 1 as SDR white."""
    light = np.maximum(np.linspace(0, 1, CODES) ** 4 * 10_000, 1e-6)
    code, most = np.minimum(_pq_code(light) / _pq_code(PEAK), 1), _pq_code(WHITE) / _pq_code(PEAK)
    knee = 1.5 * most - 0.5
    t = np.clip((code - knee) / (1 - knee), 0, 1)
    curve = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    mapped = _pq_light(np.where(code < knee, code, curve) * _pq_code(PEAK))
    return np.asarray(mapped / light / WHITE, np.float32)


@cache
def _display8() -> np.ndarray:
    """Table from 16-bit light to the 8-bit code value."""
    return np.rint(255 * np.linspace(0, 1, CODES) ** (1 / GAMMA)).astype(np.uint8)


@cache
def _display16() -> np.ndarray:
    """Table for `_table` from light (0 to 1) to the 16-bit code value."""
    return np.rint(65535 * np.linspace(0, 1, CODES) ** (4 / GAMMA)).astype(np.uint16)


def _pq_light(code: np.ndarray | float) -> np.ndarray:
    power = np.power(code, 1 / 78.84375)
    return 10_000 * np.power(np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power), 1 / 0.1593017578125)


def _pq_code(light: np.ndarray | float) -> np.ndarray:
    power = np.power(np.asarray(light) / 10_000, 0.1593017578125)
    return np.power((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power), 78.84375)
