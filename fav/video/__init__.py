"""Decode and encode: the one room with codecs, timestamps and sound.

A video is the path of a file, or a numbered image sequence given as a printf pattern (`dir/frame_%04d.png`),
for which alone a frame rate `fps` is told. Frames count from 0 in the order they are shown.
"""

from fav.video.decoding import Decoded, Decoding, decode
from fav.video.film import check_film_name, write_film
from fav.video.index import FrameIndex
from fav.video.reader import FrameReader
from fav.video.source import Source, probe, reaches

__all__ = ["Decoded", "Decoding", "FrameIndex", "FrameReader", "Source", "check_film_name", "decode", "probe", "reaches", "write_film"]
