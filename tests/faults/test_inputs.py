"""Inputs are read once, never waited for, and are what they seem: pipes, devices, endless files, playlists, odd weights."""

import collections
import os
import struct
import subprocess
import threading
import time
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import coordinator
from fav.cli.tools import main as single_steps
from fav.errors import FavError
from fav.flow import spynet
from fav.launch.dask_client import address_of
from fav.launch.errors import LaunchError
from fav.launch.ssh_launcher import hosts_of
from fav.model.checkpoints import load_style, read_pickle
from fav.model.network import StyleNetwork
from fav.perceptual.pretrained import load_loss_network
from fav.pipeline.check_request import check_request
from fav.pipeline.plan import make_plan
from fav.pipeline.request import Request
from fav.pipeline.resolve_options import with_cuts
from fav.pipeline.spec import JobSpec
from fav.pipeline.spec_fields import spec_fields
from fav.pipeline.submit import _fill, submit
from fav.training.image_folder import open_image_folder
from fav.util.fingerprint import hash_of
from fav.util.images import encode_png, read_image
from fav.util.reading import read_once
from fav.video import decode, probe
from fav.video.shot_detection import read_cuts
from shared.heartbeat import temporary_member
from shared.jobs import all_jobs
from tests.helpers.job_system import make_share
from tests.helpers.torch7_writer import TorchObject, save
from tests.helpers.video_jobs import TINY, create

PICTURE = encode_png(np.full((64, 96, 3), 90, np.uint8))


@pytest.fixture
def share(root):
    """An empty share, by the clock of the world."""
    return make_share(root)


@pytest.fixture
def fifo(tmp_path) -> Path:
    path = tmp_path / "a pipe"
    os.mkfifo(path)
    return path


def soon(what, *words, **more):
    """What a call returns or raises, which it does within five seconds and without eating memory."""
    found = []

    def run():
        try:
            found.append(what(*words, **more))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(5)
    assert found, f"{what} waits"
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]


def fed(path: Path, data: bytes) -> threading.Thread:
    """A program that writes into a pipe."""

    def write():
        with open(path, "wb") as pipe:
            pipe.write(data)

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    return thread


# ---- pipes, devices and endless files
@pytest.mark.parametrize("kind, word", [("fifo", "got a pipe; save"), ("/dev/zero", "got a device")])
@pytest.mark.parametrize(
    "option", ["video", "style", "mix", "first_frame_style", "init_frame", "mask", "evaluate", "flow_weights"]
)
def test_input_that_is_no_file_is_refused_at_once(clip, style, fifo, option, kind, word):
    path = fifo if kind == "fifo" else Path(kind)
    given = {"video": str(clip), "style": style, "name": "x", "loss_network": None}
    given |= {option: str(path) if option == "video" else ((path, 0.5),) if option == "mix" else path}
    given |= {"flow": "spynet"} if option == "flow_weights" else {}
    with pytest.raises(FavError) as error:
        soon(check_request, Request(**given))
    assert word in str(error.value) or option == "mask" and "got something else" in str(error.value)


@pytest.mark.parametrize("path", ["fifo", "/dev/zero"])
def test_hosts_loss_network_and_scheduler_file_that_are_no_files_are_refused_at_once(fifo, path):
    path = fifo if path == "fifo" else Path(path)
    with pytest.raises(FavError, match="--hosts .*: expected a file, got a"):
        soon(hosts_of, path)
    with pytest.raises(FavError, match="loss network .*: expected a file, got a"):
        soon(load_loss_network, str(path))
    with pytest.raises(LaunchError, match="scheduler-file"):
        soon(address_of, str(path))


def test_directory_of_weights_with_a_pipe_in_it_is_refused_at_once(tmp_path, fifo):
    (tmp_path / "weights").mkdir()
    fifo.rename(tmp_path / "weights" / "modelL1_F.t7")
    with pytest.raises(FavError, match="modelL1_F.t7: expected a file, got a pipe"):
        soon(spynet.load_weights, tmp_path / "weights")


def test_hosts_file_of_a_gigabyte_is_refused_unread(tmp_path):
    with open(tmp_path / "hosts", "wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(FavError, match="at most 1048576 bytes"):
        hosts_of(tmp_path / "hosts")


def test_pipes_among_photographs_are_told_and_left_out(tmp_path):
    for number in range(20):
        (tmp_path / f"{number}.png").write_bytes(PICTURE)
    os.mkfifo(tmp_path / "pipe\x1b[31m.png")
    (tmp_path / "endless.jpg").symlink_to("/dev/zero")
    album = soon(open_image_folder, tmp_path, 64)
    assert len(album.photos) + len(album.held_out) == 20 and album.notes == [
        "not a regular file, left out: endless.jpg, pipe?[31m.png"
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["stylize", "PIPE", "STYLE", "out.mp4"],
        ["stylize", "CLIP", "PIPE", "out.mp4"],
        ["evaluate", "CLIP", "PIPE"],
        ["flow", "PIPE", "PIPE", "out.flo"],
        ["convert", "PIPE", "out.safetensors"],
    ],
)
def test_single_steps_refuse_a_pipe_at_once(clip, style, fifo, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    words = [{"PIPE": str(fifo), "STYLE": str(style), "CLIP": str(clip)}.get(word, word) for word in words]
    made = soon(CliRunner().invoke, single_steps, words)
    assert made.exit_code == 2 and "expected a file, got a pipe" in made.output and made.output.count("\n") == 1


def png_head(width: int, height: int) -> bytes:
    """A small file that claims a large picture, with all of its checksums right."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm"])
def test_small_file_that_claims_a_huge_picture_is_refused_undecoded(tmp_path, monkeypatch, suffix):
    data = {
        ".png": png_head(30_000, 30_000),
        ".ppm": b"P6 30000 30000 255\n" + b"\0" * 100,
        ".bmp": b"BM"
        + struct.pack("<IHHI", 100, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 30_000, 30_000, 1, 24, 0, 0, 0, 0, 0, 0),
    }
    (tmp_path / f"a{suffix}").write_bytes(data[suffix])
    monkeypatch.setattr(cv2, "imdecode", lambda *words: pytest.fail("it was decoded"))
    with pytest.raises(FavError, match="expected at most 268435456 pixels, got 30000x30000"):
        read_image(tmp_path / f"a{suffix}")


# ---- cuts
def test_cuts_from_a_pipe_are_read_once_and_come_into_the_job(share, clip, style, fifo):
    writer = fed(fifo, b"frame\n10\n20\n")
    made = CliRunner().invoke(
        coordinator.main,
        ["submit", str(share.layout.root), str(clip), str(style), "--name", "x", "--read-cuts", str(fifo)],
    )
    writer.join(5)
    assert made.exit_code == 0 and f"2 cuts read from {fifo}" in made.output
    assert JobSpec.from_json(all_jobs(share)[0].manifest.spec).cuts == (10, 20)


def test_cuts_of_a_shells_process_substitution_are_read(share, clip, style):
    read, write = os.pipe()
    os.write(write, b"7\n")
    os.close(write)
    try:
        job = soon(create, share, clip, style, name="x", read_cuts=Path(f"/dev/fd/{read}"))
    finally:
        os.close(read)
    assert JobSpec.from_json(job.manifest.spec).cuts == (7,)


def test_cuts_that_come_slowly_are_waited_for_with_a_word(fifo, monkeypatch, capsys):
    monkeypatch.setattr("fav.util.reading.NOTICE_S", 0.1)

    def write():
        with open(fifo, "w") as pipe:
            for number in (3, 5):
                time.sleep(0.5)
                pipe.write(f"{number}\n")
                pipe.flush()

    threading.Thread(target=write, daemon=True).start()
    assert soon(read_cuts, fifo) == (3, 5)
    assert f"waiting for cuts {fifo}" in capsys.readouterr().err


def test_pipe_that_nobody_writes_into_is_not_waited_for(fifo, monkeypatch):
    monkeypatch.setattr("fav.util.reading.WRITER_S", 0.3)
    with pytest.raises(FavError, match="expected a pipe that a program writes to, got a pipe without a writer"):
        soon(read_cuts, fifo)


def test_pipe_whose_writer_is_silent_is_not_waited_for_without_end(fifo, monkeypatch):
    monkeypatch.setattr("fav.util.reading.SILENT_S", 0.3)
    writer = os.open(fifo, os.O_RDWR)
    try:
        with pytest.raises(FavError, match="got no data for"):
            soon(read_cuts, fifo)
    finally:
        os.close(writer)


def test_endless_cuts_are_refused(fifo):
    with pytest.raises(FavError, match="got a device"):
        soon(read_cuts, Path("/dev/zero"))
    fed(fifo, b"1\n" * 1000)
    with pytest.raises(FavError, match="expected at most 1000 bytes, got more"):
        soon(read_once, fifo, "cuts", 1000)


@pytest.mark.parametrize("text, cuts", [("", None), ("\n \n", None), ("# none\n", ()), ("0\n", (0,))])
def test_file_without_cuts_is_taken_only_where_it_says_so(tmp_path, text, cuts):
    (tmp_path / "cuts.csv").write_text(text)
    if cuts is not None:
        assert read_cuts(tmp_path / "cuts.csv") == cuts
        return
    with pytest.raises(FavError, match="cuts.csv: expected frame numbers, one per line, got none; .*--no-cuts"):
        read_cuts(tmp_path / "cuts.csv")


def test_request_whose_cuts_were_not_read_makes_no_job(clip, style, tmp_path):
    (tmp_path / "cuts.csv").write_text("10\n")
    request = Request(str(clip), style, read_cuts=tmp_path / "cuts.csv")
    with pytest.raises(ValueError, match="with_cuts"):
        spec_fields(request, check_request(request))
    (tmp_path / "cuts.csv").write_text("10\n999\n")
    with pytest.raises(FavError, match="expected frame numbers below 24"):
        check_request(with_cuts(request)[0])


# ---- inputs that change while they are copied
@pytest.mark.parametrize("name", ["style", "init frame"])
def test_input_that_changes_while_the_job_is_made_makes_none(share, clip, style, tmp_path, monkeypatch, name):
    seed, mine = tmp_path / "seed.png", tmp_path / "style.safetensors"
    seed.write_bytes(PICTURE)
    mine.write_bytes(style.read_bytes())
    changing = {"style": mine, "init frame": seed}[name]

    def and_then(*words):
        changing.write_bytes(changing.read_bytes() + b"more")
        return _fill(*words)

    monkeypatch.setattr("fav.pipeline.submit._fill", and_then)
    with (
        temporary_member(share) as node,
        pytest.raises(FavError, match=f"expected inputs that do not change .*the job's {name}"),
    ):
        submit(node, Request(str(clip), mine, init_frame=seed, name="x"))
    assert all_jobs(share) == [] and os.listdir(share.layout.jobs) == []


# ---- videos
@pytest.fixture(scope="module")
def private(tmp_path_factory, clip) -> Path:
    """A video that somebody has beside what he gives."""
    path = tmp_path_factory.mktemp("private") / "private.ts"
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(clip), "-c", "copy", str(path)], check=True)
    return path


PLAYLISTS = {
    "film.mp4": "ffconcat version 1.0\nfile private.ts\n",
    "sub.mp4": "ffconcat version 1.0\nfile sub/private.ts\n",
    "film.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
    "film.mkv": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n",
    "text.nfo": "\x1b[31mwords\x1b[0m\n" * 30,
    "subtitles.srt": "1\n00:00:00,000 --> 00:00:01,000\nwords\n\n",
    "film.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
}


@pytest.mark.parametrize("name", PLAYLISTS)
def test_playlist_and_what_else_is_no_film_is_no_video(private, name):
    (private.parent / "sub").mkdir(exist_ok=True)
    (private.parent / "sub" / "private.ts").write_bytes(private.read_bytes())
    path = private.parent / name
    path.write_text(PLAYLISTS[name].format(private))
    with pytest.raises(FavError, match="expected a video in one file, got a playlist|cannot read"):
        soon(probe, path)
    assert soon(probe, private).width == 96


def test_playlist_of_a_pipe_is_not_waited_for(tmp_path, fifo):
    (tmp_path / "film.mp4").write_text("ffconcat version 1.0\nfile 'a pipe'\n")
    with pytest.raises(FavError, match="playlist"):
        soon(probe, tmp_path / "film.mp4")


def test_node_opens_no_playlist_either(share, private, clip, style):
    """Whatever the manifest says."""
    job = create(share, clip, style, name="x")
    film = share.layout.root / job.manifest.spec["video"]
    film.unlink()
    film.write_text(PLAYLISTS["film.m3u8"].format(private))
    job.manifest.spec["video_hash"] = hash_of(film)
    with temporary_member(share) as node, pytest.raises(FavError, match="playlist"):
        make_plan(job, node)


def test_picture_is_a_video_of_itself_alone(tmp_path):
    """Also where its name looks like that of a sequence."""
    for name, gray in (("n%03d.jpg", 50), ("n001.jpg", 200), ("n002.jpg", 200)):
        cv2.imwrite(str(tmp_path / name), np.full((64, 96, 3), gray, np.uint8))
    with decode(tmp_path / "n%03d.jpg") as decoding:
        assert [int(frame.image().mean()) for frame in decoding] == [50]
    (tmp_path / "n%03d.jpg").unlink()
    with decode(tmp_path / "n%03d.jpg") as decoding:
        assert [int(frame.image().mean()) for frame in decoding] == [200, 200]


# ---- weights


@pytest.mark.parametrize("option", ["video", "mask"])
def test_image_of_a_sequence_that_is_a_link_to_another_file_makes_no_job(clip, style, tmp_path, option):
    for number in range(1, 4):
        (tmp_path / f"f_{number}.png").write_bytes(PICTURE)
    sequence = str(tmp_path / "f_%d.png")
    request = (
        Request(sequence, style) if option == "video" else Request(str(clip), style, mask=Path(sequence), frames=3)
    )
    (tmp_path / "f_2.png").unlink()
    (tmp_path / "private.txt").write_text("root:x:0:0")
    (tmp_path / "f_2.png").symlink_to(tmp_path / "private.txt")
    with pytest.raises(FavError, match="f_2.png"):
        check_request(request)
    (tmp_path / "f_2.png").unlink()
    (tmp_path / "f_2.png").symlink_to(tmp_path / "f_1.png")  # a link to an image is as good as the image
    if option == "video":
        check_request(request)


def weights() -> dict:
    torch.manual_seed(0)
    return StyleNetwork(TINY, 7).state_dict()


def saved(path: Path, root) -> Path:
    torch.save(root, path)
    return path


class Ordered:
    """Is pickled as an OrderedDict with an attribute that stands in the place of a method."""

    def __init__(self, content: dict, attribute: str):
        self.content, self.attribute = content, attribute

    def __reduce__(self):
        return collections.OrderedDict, (), {self.attribute: 7}, None, iter(self.content.items())


@pytest.mark.parametrize("attribute", ["items", "keys", "get", "values", "__class__", "__iter__", "__len__"])
def test_state_dict_with_attributes_is_read_as_the_dict_that_it_is(tmp_path, attribute):
    assert load_style(saved(tmp_path / "odd.pth", Ordered(weights(), attribute))).in_channels == 7


@pytest.mark.parametrize("attribute", ["isfinite", "numel", "float", "is_floating_point", "detach"])
def test_parameter_with_attributes_is_read_as_the_tensor_that_it_is(tmp_path, attribute):
    state = weights()
    key = next(iter(state))
    state[key] = torch.nn.Parameter(state[key])
    state[key].__dict__[attribute] = 7
    assert load_style(saved(tmp_path / "odd.pth", state)).in_channels == 7


def odd_tensors() -> dict:
    value = torch.zeros(4, 7, 9, 9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = {
            "quantized": torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
            "nested": torch.nested.nested_tensor([value, value]),
        }
    return {
        **odd, "sparse": value.to_sparse(), "complex": value.to(torch.complex64), "integer": value.long(), "meta": value.to("meta"),
        "number": 7, "list": [value], "dict": {"a": value}, "none": None, "empty": torch.zeros(0), "scalar": torch.tensor(1.0),
        "expanded": torch.zeros(1).expand(10**9), "infinite": value + torch.inf, "float8": value.to(torch.float8_e4m3fn),
    }  # fmt: skip


@pytest.mark.parametrize("name", odd_tensors())
def test_odd_tensors_in_a_style_are_one_line(tmp_path, name):
    """For the first weights, and for all."""
    odd = odd_tensors()[name]
    state = {**weights(), "1.weight": odd}
    for each in (state, dict.fromkeys(state, odd)):
        if name == "float8" and each is state:
            assert load_style(saved(tmp_path / "odd.pth", each)).in_channels == 7  # numbers, if few
            continue
        with pytest.raises(FavError) as error:
            load_style(saved(tmp_path / "odd.pth", each))
        assert str(error.value).startswith(str(tmp_path)) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", odd_tensors())
def test_odd_tensors_in_other_networks_are_one_line(tmp_path, name):
    odd = odd_tensors()[name]
    for key in ("features.0.weight", "conv1.weight", "conv1_1.weight"):
        with pytest.raises(FavError, match="^loss network"):
            load_loss_network(str(saved(tmp_path / "odd.pth", collections.OrderedDict({key: odd}))))
    with pytest.raises(FavError, match="^SPyNet weights"):
        spynet.load_weights(saved(tmp_path / "odd.pth", {spynet.name_of(0, "0.weight"): odd}))


def test_attributes_of_dicts_within_dicts_are_dropped(tmp_path):
    inner = Ordered({"recipe": 1}, "items")
    found = read_pickle(saved(tmp_path / "a.pth", Ordered({"inner": inner, "rest": [inner, (inner,)]}, "get")))
    assert type(found["inner"]) is dict and found["inner"] == {"recipe": 1} and type(found["rest"][1][0]) is dict


def test_pickle_that_holds_itself_is_one_line(tmp_path):
    root: dict = {}
    root["self"] = root
    with pytest.raises(FavError, match="damaged"):
        read_pickle(saved(tmp_path / "a.pth", root))


def test_lua_loss_network_with_odd_tables_is_one_line(tmp_path):
    for modules in (7.0, {"a": 1.0, 2.0: 3.0}, {1.0: TorchObject("nn.SpatialConvolution", {"weight": "x"})}, None):
        save(tmp_path / "a.t7", TorchObject("nn.Sequential", {"modules": modules}))
        with pytest.raises(FavError, match="loss network"):
            load_loss_network(str(tmp_path / "a.t7"))
        (tmp_path / "w").mkdir(exist_ok=True)
        (tmp_path / "a.t7").rename(tmp_path / "w" / "modelL1_F.t7")
        with pytest.raises(FavError, match="SPyNet weights"):
            spynet.load_weights(tmp_path / "w")
