"""Every reader of bytes and names that others write: whatever they are, it returns or raises what it promises, in one line.

FAV_FUZZ=20000 pytest tests/faults/test_fuzz.py makes so many examples of each, and other ones each time.
"""

import json
import os
import random
import shutil
import socket
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from fav.errors import FavError
from fav.flow.io import SCALE_KEY, decode_flow, encode_flow, read_flo, write_flo
from fav.flow.spynet import load_weights
from fav.model.checkpoints import load_style
from fav.model.network import StyleNetwork
from fav.pipeline.spec import JobSpec
from fav.stylize.timeline import IndexSegment, Timeline
from fav.util.images import decode_png, encode_png, png_text, read_image
from fav.video import FrameIndex
from fav.video.shot_detection import read_cuts
from shared import attempts, results
from shared.claims import Claims
from shared.errors import JobQueueError
from shared.identity import DECODE_ERRORS, Identity
from shared.jobs import Manifest, find_job, job_name
from shared.paths import Task, is_name
from shared.shared_dir import open_share
from tests.helpers import torch7_writer
from tests.helpers import toy_plan as toy
from tests.helpers import video_jobs as films
from tests.helpers.failing_filesystem import FailingFileSystem, work
from tests.helpers.job_system import join
from tests.helpers.logs import logged

pytestmark = pytest.mark.usefixtures("at_once")

EXAMPLES = int(os.environ.get("FAV_FUZZ", 0))
fuzz = settings(max_examples=EXAMPLES or 60, deadline=None, derandomize=not EXAMPLES, database=None,
                suppress_health_check=list(HealthCheck))  # fmt: skip
slow_fuzz = settings(fuzz, max_examples=EXAMPLES // 20 or 25)
LINE = 700  # characters of a complaint, paths included, that still is one clear line
WHERE = Path("/share/file")


def answer(read, *refusals: type[Exception]):
    """What a reader returns; None where it raises what it promises, in one line."""
    try:
        return read()
    except refusals as error:
        assert len(str(error)) < LINE and len(str(error).splitlines()) == 1, str(error)[:2000]
        return None


# ---- what strangers write: valid bytes, changed; and valid JSON, some values replaced. A seed a change: drawing each
# byte of it from hypothesis takes ten times as long as reading it.
SEEDS = st.integers(0, 2**64 - 1).map(random.Random)


def mutated(*originals: bytes):
    """Bytes that were valid: with bits flipped, parts cut, repeated, inserted or overwritten."""
    return SEEDS.map(lambda chance: mutate(chance, chance.choice(originals)))


def mutate(chance: random.Random, original: bytes) -> bytes:
    data = bytearray(original)
    for _ in range(chance.randint(0, 3)):
        at, size = chance.randint(0, len(data)), chance.randint(1, 16)
        change = chance.choice(["flip", "insert", "drop", "cut", "repeat", "overwrite"])
        if change == "flip" and at < len(data):
            data[at] ^= 1 << chance.randrange(8)
        elif change == "insert":
            data[at:at] = chance.randbytes(size)
        elif change == "drop":
            del data[at : at + size]
        elif change == "cut":
            del data[at:]
        elif change == "repeat":
            data[at:at] = data[at : at + size] * chance.randint(1, 3)
        elif change == "overwrite":
            data[at : at + size] = chance.choice([b"\0", b"\xff", b"\x7f"]) * size
    return bytes(data)


VALUES = [0, -1, 1, 2**31, 2**32, 2**63, 2**64, 10**400, -(10**400), 0.5, 1e308, float("inf"), float("nan"), True, False, None, "", ".", "..",
          "../../x", "/etc/passwd", "a\0b", "\ud800", "x" * 5000, "1e999999999", "1/0", "-1/3", "2", "\n", "\x1b[2J", "a/b", "jobs", "film.mkv",
          [], {}, [[]], [1, [2]], [0.5, "x"], {"x": {}}, [None], {"version": 99}, 640, [3, 7], [7, 3], "1/25"]  # fmt: skip


def altered(value):
    """A JSON value, some parts of it replaced, dropped or added."""
    return SEEDS.map(lambda chance: alter(chance, value))


def alter(chance: random.Random, value):
    if not isinstance(value, dict | list) or not value or chance.randrange(8) == 0:
        return chance.choice(
            [*VALUES, chance.randint(-3, 3), chance.getrandbits(chance.randint(1, 80)), chance.uniform(-1e3, 1e3)]
        )
    value = dict(value) if isinstance(value, dict) else list(value)
    for _ in range(chance.randint(1, 2)):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not keys:
            break
        key, change = chance.choice(keys), chance.choice(["alter", "alter", "alter", "drop", "add"])
        if change == "alter":
            value[key] = alter(chance, value[key])
        elif change == "drop":
            del value[key]
        elif isinstance(value, dict):
            value[chance.choice(["", "x", "\0", "lease"])] = chance.choice(VALUES)
        else:
            value.insert(key, chance.choice(VALUES))
    return value


def altered_json(value):
    """Bytes of an altered JSON value, or of a valid one mutated, or none that mean anything."""
    return (
        altered(value).map(lambda value: json.dumps(value).encode())
        | mutated(json.dumps(value).encode())
        | st.binary(max_size=64)
    )


# ---- the job system's records
IDENTITY = json.loads(Identity.here("torch").to_bytes())
SPEC = JobSpec(video="jobs/a/inputs/video.mp4", video_hash="0" * 32, style="jobs/a/inputs/style.safetensors", style_hash="1" * 32,
                width=640, height=360, out="a.mp4", cuts=(3, 7), stop=20, fps=25.0, threads=2).to_json()  # fmt: skip
MANIFEST = json.loads(Manifest("a." + "0" * 12, "a", SPEC, 180.0).to_bytes())
ATTEMPT = {"why": "raised", "who": IDENTITY["incarnation"], "detail": "Traceback\nValueError: no"}


@fuzz
@given(altered_json(IDENTITY))
def test_identity(data):
    identity = answer(lambda: Identity.from_bytes(data, WHERE), JobQueueError)
    if identity is not None:
        assert Identity.from_bytes(identity.to_bytes(), WHERE) == identity and "/" not in identity.incarnation


@fuzz
@given(altered_json(MANIFEST))
def test_manifest(data):
    manifest = answer(lambda: Manifest.from_bytes(data, WHERE), JobQueueError)
    if manifest is not None:
        assert is_name(manifest.id) and 0 < manifest.lease < 1e6
        assert Manifest.from_bytes(manifest.to_bytes(), WHERE).id == manifest.id


@fuzz
@given(altered(SPEC))
@example({**SPEC, "out": "a\0b.mp4"})
@example({**SPEC, "style": "\ud800"})
@example({**SPEC, "video": "x" * 256})
def test_options_of_a_film(record):
    assume(isinstance(record, dict))
    spec = answer(lambda: JobSpec.from_json(json.loads(json.dumps(record))), FavError)
    if spec is not None:
        root = Path("/share")
        for path in (spec.film(root), spec.style_settings(root).style, root / spec.video):
            assert (
                os.fsencode(path)
                and b"\0" not in os.fsencode(path)
                and path.is_relative_to(root)
                and ".." not in path.parts
            )
        assert 0 < spec.width < 2**20 and spec.start >= 0 and (spec.stop is None or spec.stop > spec.start)
        assert JobSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return toy.create(open_share(tmp_path_factory.mktemp("share")), chains=1, length=1)


@fuzz
@given(
    data=altered_json(ATTEMPT) | altered_json(IDENTITY),
    name=st.sampled_from([f"{IDENTITY['token']}.1", "damaged.1", "x", "a.b.c"]),
)
def test_record_of_an_attempt(job, data, name):
    place = job.layout.attempts_of(toy.SUM)
    place.mkdir(parents=True, exist_ok=True)
    try:
        (place / name).write_bytes(data)
        for attempt in attempts.attempts_of_task(job, toy.SUM):
            assert (attempt.why + attempt.who + attempt.host + attempt.detail.replace("\n", "")).isprintable()
    finally:
        (place / name).unlink()


@fuzz
@given(st.text(max_size=30) | st.from_regex(r"[a-z]{1,8}\.[0-9²]{5,14}(\.bak|~)?", fullmatch=True))
def test_name_of_a_task(name):
    task = Task.parse(name)
    assert task is None or str(task) == name and "/" not in name


@fuzz
@given(st.text(max_size=200), st.text(max_size=200))
def test_name_of_a_job(one, other):
    assert is_name(job_name(one, other))


@fuzz
@given(name=st.text(max_size=20) | st.text("ab./_-", max_size=160))
def test_name_of_a_job_that_is_asked_for(job, name):
    answer(lambda: find_job(job.share, name), JobQueueError)


# ---- the index
def index(count: int) -> dict:
    numbers = np.arange(count)
    return FrameIndex(
        numbers * 512,
        np.full(count, 512),
        numbers % 3 == 0,
        (numbers * 7).astype(np.uint32),
        FrameIndex.of([], 1).time_base,
    ).to_json()


PIECE = {"start": 0, "index": {**index(5), "time_base": "1/12800"}, "cuts": [2, 4], "last": True, "notes": ["a note"]}


@fuzz
@given(altered_json(PIECE), st.booleans(), st.booleans())
def test_piece_of_the_index(data, backward, independent):
    timeline = Timeline(reverse=backward, independent=independent)
    try:
        piece = IndexSegment.from_json(json.loads(data))
    except (FavError, *DECODE_ERRORS):
        return
    if answer(lambda: timeline.add(piece) or timeline, ValueError) is None:
        return
    for run in timeline.chains:
        assert 0 <= run.start < run.stop <= len(timeline.index)
    for number in range(len(timeline.index)):
        assert timeline.chain_of(number).start <= number < timeline.chain_of(number).stop
        assert (
            timeline.index.frame_at(timeline.index.pts[number]) == number and timeline.index.end(number + 1) is not None
        )
        (
            timeline.index.crc[number],
            timeline.index.keyframe[number],
            timeline.index.duration[number] * timeline.index.time_base,
        )
    assert 0 < timeline.index.time_base < 10**6 and all("\x1b" not in note for note in timeline.notes)
    json.dumps(piece.to_json()).encode()


# ---- pictures and flow
GRADIENT = np.indices((6, 8)).sum(0).astype(np.uint8)[..., None] * np.array([3, 5, 7], np.uint8)
PNG = encode_png(GRADIENT, {"node": "ä", "numeric-class": "cpu"})
FLOW = np.indices((6, 8)).astype(np.float32).transpose(1, 2, 0) / 3
FLOW_PNG = encode_flow(FLOW, np.ones((6, 8), np.uint8), {"node": "x"})


def checked(data: bytes) -> bytes:
    """A PNG the checksums of whose chunks are made right again, as far as it has chunks."""
    parts, at = [data[:8]], 8
    while at + 12 <= len(data):
        length = struct.unpack_from(">I", data, at)[0]
        body = data[at + 4 : at + 8 + length]
        parts.append(
            struct.pack(">I", len(body) - 4 if len(body) >= 4 else 0) + body + struct.pack(">I", zlib.crc32(body))
        )
        at += 12 + length
    return b"".join(parts)


PNGS = mutated(PNG, FLOW_PNG, encode_png(GRADIENT.astype(np.uint16) * 257))
BROKEN = PNGS | PNGS.map(checked) | st.binary(max_size=40)


@fuzz
@given(BROKEN)
def test_png(data):
    frame = answer(lambda: decode_png(data), FavError)
    assert frame is None or frame.ndim == 3 and frame.shape[2] == 3 and frame.dtype in (np.uint8, np.uint16)
    text = answer(lambda: png_text(data), FavError)
    assert text is None or all(isinstance(word, str) for word in (*text, *text.values()))


@fuzz
@given(BROKEN)
def test_png_of_a_known_size(data):
    frame = answer(lambda: decode_png(data, (8, 6)), FavError)
    assert frame is None or frame.shape == (6, 8, 3)


@fuzz
@given(
    BROKEN
    | st.sampled_from(["0", "-1", "nan", "inf", "x", "1e999", "", "3", "256"]).map(
        lambda scale: encode_png(np.full((6, 8, 3), [1, 2**15, 2**15 + 9], np.uint16), {SCALE_KEY: scale})
    )
)
def test_flow_that_travels(data):
    made = answer(lambda: decode_flow(data), FavError)
    if made is not None:
        flow, reliability = made
        assert (
            flow.shape[2] == 2
            and flow.shape[:2] == reliability.shape
            and np.isfinite(flow).all()
            and reliability.max() <= 1
        )


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("files")


def written(directory: Path, name: str, data: bytes) -> Path:
    (directory / name).write_bytes(data)
    return directory / name


@pytest.fixture(scope="module")
def valid(tmp_path_factory) -> dict[str, bytes]:
    """Whole files by their endings."""
    folder = tmp_path_factory.mktemp("valid")
    write_flo(folder / "a.flo", FLOW)
    films.make_style(folder / "a.safetensors")
    torch.manual_seed(1)
    network = StyleNetwork("c3s1-2,d2,R2,u2,c3s1-3", 3)
    torch.save(network.state_dict(), folder / "a.pth")
    torch.save(network.state_dict(), folder / "old.pth", _use_new_zipfile_serialization=False)
    torch7_writer.save(folder / "a.t7", torch7_writer.style_checkpoint(network))
    cv2.imwrite(str(folder / "a.jpg"), np.kron(GRADIENT, np.ones((4, 4, 1), np.uint8)))
    (folder / "a.csv").write_text("frame\n3\n7 # a comment\n\n11,\n")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@fuzz
@given(data=st.data())
def test_flo_file(directory, valid, data):
    path = written(directory, "a.flo", data.draw(mutated(valid["a.flo"])))
    flow = answer(lambda: read_flo(path), FavError)
    assert flow is None or flow.ndim == 3 and flow.dtype == np.float32


@fuzz
@given(data=st.data())
def test_picture_of_the_user(directory, valid, data):
    path = written(directory, "a.jpg", data.draw(mutated(valid["a.jpg"], PNG) | BROKEN))
    frame = answer(lambda: read_image(path), FavError)
    assert frame is None or frame.ndim == 3 and frame.dtype == np.uint8


@fuzz
@given(data=st.data())
def test_file_of_cuts(directory, valid, data):
    lines = st.lists(st.text(max_size=8) | st.integers().map(str) | st.just("9" * 5000) | st.just("²"), max_size=5).map(
        "\n".join
    )
    changed = mutated(valid["a.csv"]) | lines.map(lambda text: text.encode("utf-8", "surrogatepass"))
    path = written(directory, "a.csv", data.draw(changed))
    cuts = answer(lambda: read_cuts(path), FavError)
    assert cuts is None or list(cuts) == sorted(set(cuts)) and all(cut >= 0 for cut in cuts)


# ---- weights
def safetensors_of(head, data: bytes) -> bytes:
    text = json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + data


@fuzz
@given(data=st.data())
@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "old.pth", "a.t7"])
def test_style(directory, valid, name, data):
    original = valid[name]
    changed = mutated(original)
    if name == "a.safetensors":
        size = 8 + int.from_bytes(original[:8], "little")
        changed |= altered(json.loads(original[8:size])).map(lambda head: safetensors_of(head, original[size:]))
    path = written(directory, name, data.draw(changed))
    network = answer(lambda: load_style(path), FavError)
    assert network is None or all(value.isfinite().all() for value in network.state_dict().values())
    assert network is None or np.isfinite(network.tanh_constant)


@pytest.mark.parametrize("constant", ["nan", "inf", "-1", "0", "1e9", "x"])
def test_style_whose_range_is_none_of_a_picture(directory, valid, constant):
    original = valid["a.safetensors"]
    size = 8 + int.from_bytes(original[:8], "little")
    head = json.loads(original[8:size])
    head["__metadata__"]["tanh_constant"] = constant
    path = written(directory, "b.safetensors", safetensors_of(head, original[size:]))
    with pytest.raises(FavError, match="tanh_constant: expected a number"):
        load_style(path)


@slow_fuzz
@given(data=st.data())
@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "old.pth"])
def test_weights_of_spynet(directory, valid, name, data):
    path = written(directory, name, data.draw(mutated(valid[name])))
    assert answer(lambda: load_weights(path), FavError) is None


# ---- a whole share, into every room of which somebody throws things
def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        directory = os.open(path.parent, os.O_PATH)  # the address of a socket may have no more than 100 bytes
        try:
            one.bind(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)


def make_full_directory(path: Path) -> None:
    path.mkdir()
    (path / "job.json").write_text("{}")


def outside(path: Path) -> Path:
    """A directory beside the share that a path is in: links must not lead to anything of this machine's, since tests run as root."""
    return next(parent for parent in path.parents if parent.name == "share").with_name("outside")


OBJECTS = {
    "empty": Path.touch, "directory": Path.mkdir, "full directory": make_full_directory, "fifo": os.mkfifo, "socket": make_socket,
    "link out": lambda path: path.symlink_to(outside(path)), "link to itself": lambda path: path.symlink_to(path),
    "dangling link": lambda path: path.symlink_to("nowhere"), "link to a file": lambda path: path.symlink_to(outside(path) / "file"),
    "huge": lambda path: (path.touch(), os.truncate(path, 1 << 40)),
    "json": lambda path: path.write_bytes(b'{"why": "raised", "who": [], "detail": {}, "version": 1}'),
    "copy of a heartbeat": lambda path: path.write_bytes(json.dumps(IDENTITY).encode()),
    "newer": lambda path: path.write_bytes(json.dumps({**IDENTITY, **MANIFEST, "version": 99}).encode()),
    "noise": lambda path: path.write_bytes(bytes(range(256))),
}  # fmt: skip
PLACES = [  # rooms of a share, and of the job of a stranger that is served beside ours
    "nodes", "tmp", "notify", "logs", "by-name", "by-name/strange", "jobs", "jobs/{id}", "jobs/{id}/claims", "jobs/{id}/results",
    "jobs/{id}/results/link", "jobs/{id}/results/link/0000", "jobs/{id}/attempts", "jobs/{id}/attempts/link/0000/0000000",
    "jobs/{id}/failed", "jobs/{id}/inputs",
]  # fmt: skip
NAMES = [
    "x", "job.json", "creator", "cancelled", "finished", "strange", "link.0000000", "link.0000001", "sum.0000000", "link", "sum", "0000",
    "0000000", "0000001.txt", "0000000.txt", "link.bak", "a" * 200, "\udcff", "new\nline", ".hidden", ".nfs0001", IDENTITY["incarnation"],
    f"{IDENTITY['incarnation']}.000000001", f"{IDENTITY['token']}.1", "damaged.1", "claims", "results", "attempts", "failed", "inputs",
]  # fmt: skip


def throw(path: Path, make, replace: bool) -> None:
    """Make something of that name, perhaps in the place of what is there; not where that cannot be."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if replace and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif replace or path.is_symlink() or path.is_fifo():  # who writes to a FIFO would wait for a reader
            path.unlink(missing_ok=True)
        make(path)


@settings(fuzz, max_examples=EXAMPLES // 10 or 30)
@given(throws=st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(NAMES), st.sampled_from(sorted(OBJECTS))), min_size=1, max_size=8),
       replace=st.booleans())  # fmt: skip
def test_share_into_which_somebody_throws_things(tmp_path_factory, throws, replace):
    """Our job comes to its end, and the dead are recovered, whatever becomes of the stranger's job."""
    root = tmp_path_factory.mktemp("place") / "share"
    root.mkdir()
    outside(root / "x").mkdir()
    (outside(root / "x") / "file").write_text("a stranger's")
    share = open_share(root, FailingFileSystem())
    ours, strange = toy.create(share, "ours", chains=1, length=2), toy.create(share, "strange", chains=1, length=2)
    node, dead = join(share), join(share, host="elsewhere")
    Claims(dead, ours).claim(toy.link_task(0))
    for place, name, thing in throws:
        throw(root / place.format(id=strange.manifest.id) / name, OBJECTS[thing], replace)
    with logged() as lines:
        work(node, toy.ToyPlan, only=None)
    assert results.read(ours, toy.SUM) == toy.expected(1, 2) and "finished" in ours.flags()
    assert attempts.failed(ours) == [] and not dead.heartbeat_file.exists()
    assert all(len(line) < 2 * LINE and "\n" not in line for line in lines), lines
    assert (outside(root / "x") / "file").read_text() == "a stranger's"
    shutil.rmtree(root.parent)
