"""From the light of HDR video to the SDR picture that networks were trained on, and that an 8-bit film can show.

PQ and HLG: ITU-R BT.2100. Tone mapping: the EETF of ITU-R BT.2390, on the largest of red, green and blue, so that hues
stay. Display: BT.1886. Reference white: BT.2408. All is done by tables and elementwise float32, the same on all processors.
"""

from functools import cache

import numpy as np

PQ, HLG = 16, 18  # transfer characteristics
MAPPING = "BT.2390 tone mapping of 1000 cd/m² to 203 cd/m²"
PEAK, WHITE = 1000.0, 203.0  # cd/m²: what is mastered for, and what becomes the white of SDR
GAMMA = 2.4
CODES = 1 << 16
LUMA_2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)  # red, green, blue
TO_709 = {  # from the primaries of BT.2020 and of P3 with the white D65 (linear light, red, green, blue)
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
    deep: bool = False,
) -> np.ndarray:
    """The picture (H, W, 3) uint8 BGR that shows the same scene in SDR.

    Args:
        red: (H, W) uint16, as are green and blue: code values of full range.
        white: The code value of 1.
        transfer: PQ or HLG.
        primaries: Of the source, as H.273 numbers them; what is not known is taken for BT.2020.
        deep: Give uint16, of which 65535 is white.
    """
    light = [
        _light(white, transfer)[channel] for channel in (red, green, blue)
    ]  # PQ: cd/m², HLG: of the scene, up to 1
    if transfer == HLG:
        luma = np.asarray(sum(share * channel for share, channel in zip(LUMA_2020, light)))
        gain = _table(luma, 1.0, _hlg_gain())
        light = [channel * gain for channel in light]
    scale = _table(np.maximum(np.maximum(light[0], light[1]), light[2]), 10_000.0, _mapping())
    light = [channel * scale for channel in light]
    if primaries != 1:
        rows = np.array(TO_709.get(primaries, TO_709[9]), np.float32)
        light = [row[0] * light[0] + row[1] * light[1] + row[2] * light[2] for row in rows]
    if deep:
        return np.stack([_table(channel, 1.0, _deep_display()) for channel in reversed(light)], axis=-1)
    codes = [np.rint(np.clip(channel, 0, 1) * np.float32(CODES - 1)).astype(np.uint16) for channel in light]
    return np.stack([_display()[channel] for channel in reversed(codes)], axis=-1)


def _table(values: np.ndarray, top: float, table: np.ndarray) -> np.ndarray:
    """The entries of a table over [0, top], in which the fourth root is divided evenly: eyes see dark steps best."""
    places = np.sqrt(np.sqrt(np.clip(values, 0, top) * np.float32(1 / top))) * np.float32(len(table) - 1)
    return table[np.rint(places).astype(np.int32)]


@cache
def _light(white: int, transfer: int) -> np.ndarray:
    """Light by code value."""
    code = np.minimum(np.arange(CODES) / white, 1.0)
    if transfer == PQ:
        return np.asarray(_pq_light(code), np.float32)
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.asarray(np.where(code <= 0.5, code * code / 3, (np.exp((code - c) / a) + b) / 12), np.float32)


@cache
def _hlg_gain() -> np.ndarray:
    """cd/m² by the scene's light, of a display of PEAK, whose system gamma is 1.2."""
    return np.asarray(PEAK * np.linspace(0, 1, CODES) ** (4 * 0.2), np.float32)


@cache
def _mapping() -> np.ndarray:
    """By what light is multiplied, by the largest channel's cd/m² up to 10,000; 1 is the white of SDR afterwards."""
    light = np.maximum(np.linspace(0, 1, CODES) ** 4 * 10_000, 1e-6)
    code, most = np.minimum(_pq_code(light) / _pq_code(PEAK), 1), _pq_code(WHITE) / _pq_code(PEAK)
    knee = 1.5 * most - 0.5
    t = np.clip((code - knee) / (1 - knee), 0, 1)
    curve = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    mapped = _pq_light(np.where(code < knee, code, curve) * _pq_code(PEAK))
    return np.asarray(mapped / light / WHITE, np.float32)


@cache
def _display() -> np.ndarray:
    """8-bit code by light from 0 to 1 in 16 bits."""
    return np.rint(255 * np.linspace(0, 1, CODES) ** (1 / GAMMA)).astype(np.uint8)


@cache
def _deep_display() -> np.ndarray:
    """16-bit code by the fourth root of light from 0 to 1."""
    return np.rint(65535 * np.linspace(0, 1, CODES) ** (4 / GAMMA)).astype(np.uint16)


def _pq_light(code: np.ndarray | float) -> np.ndarray:
    power = np.power(code, 1 / 78.84375)
    return 10_000 * np.power(np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power), 1 / 0.1593017578125)


def _pq_code(light: np.ndarray | float) -> np.ndarray:
    power = np.power(np.asarray(light) / 10_000, 0.1593017578125)
    return np.power((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power), 78.84375)
