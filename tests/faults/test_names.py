"""Names that are not UTF-8, as on an old file server: shares, videos, styles and masks."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import coordinator
from fav.flow import spynet
from fav.util.images import encode_png
from shared.shared_dir import open_share
from tests.helpers.checkout import ROOT
from tests.helpers.video_jobs import create, film_of, work

ODD = os.fsdecode(b"caf\xe9")


def call(*words) -> str:
    result = CliRunner().invoke(coordinator.main, [str(word) for word in words])
    assert result.exit_code == 0, (words, result.output, result.exception)
    return result.output


@pytest.fixture
def room(tmp_path) -> Path:
    room = tmp_path / ODD
    room.mkdir()
    return room


def test_share_whose_name_is_no_text_has_its_film_and_all_commands(room, clip, style):
    root = room / "share\nof 'all'"
    root.mkdir()
    job = create(open_share(root), clip, style, name="job", frames=2, threads=1)
    assert work(job) and film_of(job).is_file()
    assert "finished" in call("status", root) and '"finished"' in call("status", root, "--json")
    call("nodes", root)
    for command in ("report", "preview", "retry"):
        call(command, root, "job")
    call("stitch", root, "job", "--out", "again.mp4")
    assert (root / "again.mp4").is_file() and list(root.glob("*.html"))
    call("clean", root, "job")
    assert film_of(job).is_file() and not list((root / "jobs").iterdir())


def test_inputs_whose_names_are_no_text_are_read(room, clip, style):
    share = open_share(room)
    for number, name in enumerate(("clip.mp4", "style.safetensors")):
        shutil.copy((clip, style)[number], room / f"{ODD}.{name}")
    (room / f"{ODD}.png").write_bytes(encode_png(np.full((64, 96, 3), 200, np.uint8)))
    job = create(
        share,
        room / f"{ODD}.clip.mp4",
        room / f"{ODD}.style.safetensors",
        name="job",
        frames=1,
        threads=1,
        mask=room / f"{ODD}.png",
        init_frame=room / f"{ODD}.png",
    )
    assert work(job)


def test_weights_are_written_and_read_under_a_name_that_is_no_text(room):
    weights = {
        spynet.name_of(level, key): value
        for level in range(spynet.LEVELS)
        for key, value in spynet.make_level().state_dict().items()
    }
    spynet.save_weights(weights, room / f"{ODD}.safetensors")
    assert spynet.load_weights(room / f"{ODD}.safetensors").keys() == weights.keys()


def test_film_whose_name_no_terminal_shows_is_refused_before_any_work(room, clip, style):
    share = open_share(room)
    for out in (f"{ODD}.mp4", "a\nb.mp4"):
        result = CliRunner().invoke(coordinator.main, ["submit", str(room), str(clip), str(style), "--out", out])
        assert (
            result.exit_code == 2
            and result.output.startswith("error: --out: expected")
            and len(result.output.splitlines()) == 1
        )
    assert not list(share.layout.jobs.iterdir())


PICTURE = "import sys; from pathlib import Path; from fav.stylize.postprocess import _is_image; sys.exit(not _is_image(Path(sys.argv[1])))"


def test_mask_whose_name_is_no_text_does_not_take_the_process_down_in_any_locale(room):
    (room / f"{ODD}.png").write_bytes(encode_png(np.full((4, 4, 3), 9, np.uint8)))
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for environment in (os.environ, {**os.environ, **plain}):
        done = subprocess.run(
            [sys.executable, "-c", PICTURE, os.fsencode(room / f"{ODD}.png")], cwd=ROOT, env=environment
        )
        assert done.returncode == 0
