"""Decode and encode video: codecs, timestamps, sound and subtitles.

A video is the path of a file, or the printf pattern of a numbered image sequence (`dir/frame_%04d.png`).
`SourceSettings` has the frame rate of a sequence. Frames are counted from 0 in presentation order.

    settings, container, probe          how to read a video; open it; its properties
    decoding, clock, deinterlacing      all frames in order; their times; interlaced frames
    index, reader, sampling             the index; frames by number; a few frames without an index
    ranges, hevc, nal_units             parts that can be decoded independently; of HEVC; the units of its packets
    color, hdr, side_data               samples to BGR; HDR to SDR; data beside the samples
    spherical, spherical_matroska       the marks of 360° videos in MP4 and in Matroska
    tiff, truncation                    TIFF images; incomplete files
    damage, ffmpeg_log                  where a video is damaged; what FFmpeg logs meanwhile
    shot_detection, cut_list            find cuts; list them
    codecs, encoder, encoded            the table of codecs; encode a segment; its packets
    muxer, tracks, extras               the film of all segments; its sound and subtitles; its other content
    image_output, image_comment         numbered images instead of a film; a text in an image
    writer                              encode and mux in one step; check both before the work
"""

from fav.video.codecs import EncoderSettings, encoder_settings
from fav.video.decoding import DecodedFrame, Decoder, decode
from fav.video.encoded import EncodedSegment
from fav.video.encoder import encode_segment
from fav.video.index import FrameIndex
from fav.video.muxer import mux_film
from fav.video.probe import VideoInfo, probe, reaches
from fav.video.reader import FrameReader
from fav.video.settings import DEFAULT_SETTINGS, SourceSettings
from fav.video.writer import check_film, check_film_name, write_film

__all__ = [
    "DEFAULT_SETTINGS",
    "DecodedFrame",
    "Decoder",
    "EncodedSegment",
    "EncoderSettings",
    "FrameIndex",
    "FrameReader",
    "SourceSettings",
    "VideoInfo",
    "check_film",
    "check_film_name",
    "decode",
    "encode_segment",
    "encoder_settings",
    "mux_film",
    "probe",
    "reaches",
    "write_film",
]
