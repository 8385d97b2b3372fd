"""Small films for tests: a clip, a tiny style, and a worker that makes a job's film in this process."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from fav.model.checkpoints import save_style
from fav.model.network import StyleNetwork
from fav.pipeline import submit as submission
from fav.pipeline.artifacts import JobArtifacts
from fav.pipeline.plan import make_plan
from fav.pipeline.request import Request
from fav.pipeline.spec import JobSpec
from fav.pipeline.spec_fields import spec_fields
from fav.pipeline.submit import submit
from fav.stylize.engine import FrameStylizer
from fav.video import FrameIndex
from shared.heartbeat import temporary_member
from shared.jobs import Job
from shared.shared_dir import SharedDir
from shared.worker import Worker
from tests.helpers.checkout import ROOT
from tests.helpers.clips import synthetic
from tests.helpers.toy_plan import RecordingEvents

TINY = "c9s1-4,d8,d8,R8,U2,c3s1-8,U2,c9s1-3"
CUT, FRAMES = 14, 24


def make_clip(path: Path, size: str = "96x64") -> Path:
    """24 frames at 12/s with a cut at frame 14 and a tone; FFmpeg's test pictures, which move."""
    shots = [
        f"testsrc2=size={size}:rate=12:duration={CUT / 12}",
        f"testsrc=size={size}:rate=12:duration={(FRAMES - CUT) / 12},negate,hue=h=120",
    ]
    inputs = [word for shot in shots for word in ("-f", "lavfi", "-i", shot)]
    words = (*inputs, "-f", "lavfi", "-i", f"sine=440:duration={FRAMES / 12}", "-filter_complex", "[0:v][1:v]concat=n=2[v]",
             "-map", "[v]", "-map", "2:a", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-c:a", "aac")  # fmt: skip
    return synthetic(path, words)


def make_moving(path: Path, seconds: int, cut_s: int | None = None) -> Path:
    """A clip of 192x108 at 25/s of FFmpeg's moving test picture, with a cut after `cut_s` seconds."""
    source = "testsrc2=size=192x108:rate=25:duration="
    shots = [f"{source}{seconds}"] if cut_s is None else [f"{source}{cut_s}", f"{source}{seconds - cut_s},negate"]
    inputs = [word for shot in shots for word in ("-f", "lavfi", "-i", shot)]
    joined = "".join(f"[{number}:v]" for number in range(len(shots))) + f"concat=n={len(shots)}[v]"
    words = (*inputs, "-filter_complex", joined, "-map", "[v]", "-pix_fmt", "yuv420p", "-preset", "ultrafast")
    return synthetic(path, words)


def make_style(path: Path, in_channels: int = 7, seed: int = 1) -> Path:
    """An untrained style: its pictures are strange, but they depend on every input."""
    torch.manual_seed(seed)
    save_style(StyleNetwork(TINY, in_channels), path)
    return path


def create(share: SharedDir, video: Path | str, style: Path, **options) -> Job:
    """Create a job as the command line does, all options typed."""
    with temporary_member(share) as node:
        return submit(node, Request(str(video), style, given=frozenset(options), **options)).job


@contextmanager
def short_segments(frames: int) -> Iterator[None]:
    """Jobs that are created here have a film in segments of at most so many frames; their nodes may be anywhere."""
    with mock.patch.object(submission, "spec_fields", lambda *words: {**spec_fields(*words), "segment_frames": frames}):
        yield


def work(job: Job, report: RecordingEvents | None = None, **here) -> bool:
    """Work on a job in this process until it is over; whether it is finished."""
    report = report or RecordingEvents()
    with temporary_member(job.share) as node:
        plan_for = lambda job, node: make_plan(job, node, **here)
        return Worker(node, plan_for, report, threading.Event(), job.name).run()


def start_node(share: SharedDir, *words: str) -> subprocess.Popen:
    """A node as it is typed, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / "node.py"), str(share.layout.root), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def film_of(job: Job) -> Path:
    return JobSpec.from_json(job.manifest.spec).film(job.share.layout.root)


def frames_of(job: Job) -> list:
    """The published stylized frames, decoded, in order."""
    artifacts = JobArtifacts(job)
    artifacts.load_new_segments()
    return [artifacts.frame(number) for number in range(artifacts.spec.start, artifacts.timeline.end)]


def index_of(job: Job) -> FrameIndex:
    """What is known of the job's video."""
    artifacts = JobArtifacts(job)
    artifacts.load_new_segments()
    return artifacts.timeline.index


def probe(path: Path, entries: str, stream: str = "v:0") -> str:
    """What FFmpeg's own prober says of a file."""
    return subprocess.run(
        [
            "ffprobe",
            "-v",
            "error",
            "-select_streams",
            stream,
            "-count_frames",
            "-show_entries",
            entries,
            "-of",
            "csv=p=0",
            str(path),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def same(ones, others) -> bool:
    return len(ones) == len(others) and all(np.array_equal(a, b) for a, b in zip(ones, others))


def studio_of(job):
    artifacts = JobArtifacts(job)
    artifacts.load_new_segments()
    root = job.share.layout.root
    return FrameStylizer(root / artifacts.spec.video, artifacts.spec.style_settings(root)), artifacts.timeline.index
