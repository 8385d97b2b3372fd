"""Streams that lead to nowhere."""

import io
import os

from shared.terminal import drop


def test_dropping_what_is_no_file_leaves_nothing_open():
    before = os.listdir("/proc/self/fd")
    for stream in (None, io.StringIO()):
        drop(stream)
    assert os.listdir("/proc/self/fd") == before


def test_dropped_stream_loses_what_it_could_not_write(tmp_path):
    path = tmp_path / "log"
    with path.open("w") as stream:
        stream.write("lost")
        drop(stream)
    assert path.read_text() == ""
