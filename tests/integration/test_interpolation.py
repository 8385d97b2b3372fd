"""Several styles with weights: one network, whose weights lie between theirs."""

from pathlib import Path
from shlex import quote

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import coordinator
from fav.errors import FavError
from fav.model.bundled_styles import named_styles, style_file
from fav.model.checkpoints import load_style, save_style
from fav.model.interpolation import load_mixture
from fav.model.network import StyleNetwork
from fav.model.runner import StyleRunner
from fav.pipeline.mixture_notes import FALSE_COLORS, mixture_error, mixture_notes
from fav.pipeline.request import Request
from fav.pipeline.spec import JobSpec
from fav.video import FrameReader
from shared.jobs import all_jobs
from tests.helpers import video_jobs as films
from tests.helpers.video_jobs import create, frames_of, index_of, work


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return films.make_style(tmp_path_factory.mktemp("other") / "other: 2.safetensors", seed=2)


def constant(path, value: float):
    """A style of which every weight is this number."""
    network = load_style(films.make_style(path))
    network.load_state_dict({key: torch.full_like(old, value) for key, old in network.state_dict().items()})
    path.unlink(missing_ok=True)
    save_style(network, path)
    return path


def test_weights_lie_between_those_of_the_styles(tmp_path):
    zero, four, eight = (constant(tmp_path / f"{value}.safetensors", value) for value in (0, 4, 8))
    assert all((weights == 2).all() for weights in load_mixture(zero, [(four, 0.5)]).state_dict().values())
    assert all(
        (weights == 3).all() for weights in load_mixture(zero, [(four, 0.25), (eight, 0.25)]).state_dict().values()
    )


def test_style_alone_is_itself_and_mixed_with_itself_too(style):
    expected = load_style(style).state_dict()
    for network in (load_mixture(style), load_mixture(style, [(style, 0.5)])):
        assert all(torch.equal(network.state_dict()[key], weights) for key, weights in expected.items())


def test_other_architecture_is_refused_naming_both(share, clip, style, tmp_path):
    save_style(StyleNetwork("c9s1-8,d8,R8,U2,c9s1-3", 7), tmp_path / "wide.safetensors")
    with pytest.raises(FavError, match=f"wide.safetensors: expected the .* of .*{films.TINY}.*c9s1-8,d8,R8,U2,c9s1-3"):
        create(share, clip, style, mix=((tmp_path / "wide.safetensors", 0.5),))
    assert all_jobs(share) == []


def submitted(share, clip, style, *words):
    line = "submit", share.layout.root, clip, style, "--name", "job", *words
    return CliRunner().invoke(coordinator.main, [str(word) for word in line])


def test_job_brings_all_styles_and_paints_with_their_mixture(share, clip, style, other):
    assert (
        submitted(share, clip, style, "--frames", 2, "--mix", f"{other}:0.25", "--precision", "float32").exit_code == 0
    )
    (job,) = all_jobs(share)
    spec = JobSpec.from_json(job.manifest.spec)
    assert spec.mix_weights == (0.25,) and (share.layout.root / spec.mix[0]).read_bytes() == other.read_bytes()
    plain = create(share, clip, style, frames=2, name="plain")
    assert work(job, backend="torch") and work(plain)
    with FrameReader(clip) as reader:
        source = reader.read(0, index_of(job))
    assert np.array_equal(frames_of(job)[0], StyleRunner(load_mixture(style, [(other, 0.25)])).stylize(source))
    assert not np.array_equal(frames_of(job)[0], frames_of(plain)[0])


def test_other_weights_are_other_options_of_a_job(share, clip, style, other):
    assert submitted(share, clip, style, "--mix", f"{other}:0.25").exit_code == 0
    assert "joined" in submitted(share, clip, style, "--mix", f"{other}:0.25").output
    assert (
        f"--mix STYLE:0.25, not --mix {quote(f'{other}:0.5')}"
        in submitted(share, clip, style, "--mix", f"{other}:0.5").output
    )
    assert "--mix has another content" in submitted(share, clip, style, "--mix", f"{style}:0.25").output


@pytest.mark.parametrize("weights", [("0",), ("1",), ("0.6", "0.6"), ("-0.5",), ("nan",), ("x",), ("",)])
def test_weights_that_leave_nothing_or_are_none_are_refused(share, clip, style, other, weights):
    result = submitted(share, clip, style, *(word for weight in weights for word in ("--mix", f"{other}:{weight}")))
    assert result.exit_code == 2 and "--mix" in result.output and all_jobs(share) == []


def reordered(style: Path, out: Path) -> Path:
    """A style that paints the same, with the channels of its first layer in another order."""
    network = load_style(style)
    weights = dict(network.state_dict())
    for key in ("1.weight", "1.bias", "2.weight", "2.bias"):
        weights[key] = weights[key].roll(1, 0)
    weights["4.weight"] = weights["4.weight"].roll(1, 1)
    network.load_state_dict(weights)
    return save_style(network, out)


def test_shipped_styles_fit_each_other(clip):
    """All began with the weights of one."""
    first, *others = (path for name, path in named_styles().items() if not name.endswith("_full"))
    assert len(others) >= 7
    assert mixture_notes(Request(video=str(clip), style=first)) == ()
    for other in others:
        assert mixture_notes(Request(video=str(clip), style=first, mix=((other, 0.5),))) == ()


def test_styles_that_do_not_fit_each_other_are_named_with_what_to_expect(share, clip, tmp_path):
    composition = style_file(Path("composition_vii"))
    wave = reordered(style_file(Path("wave")), tmp_path / "wave.safetensors")
    shown = submitted(share, clip, composition, "--mix", f"{wave}:0.5").output
    assert "composition_vii, wave do not fit each other" in " ".join(shown.split())
    there_and_back = mixture_notes(Request(video=str(clip), style=composition, mix=((wave, "0:0,2:1"),)))
    assert len(there_and_back) == 1, "both ends are fine, and what lies between them is not"


def test_the_error_of_a_mixture_is_zero_at_its_ends_and_with_itself(style, other):
    assert mixture_error(style, (other,), (0.0,)) == mixture_error(style, (other,), (1.0,)) == 0
    assert mixture_error(style, (style,), (0.5,)) < 0.01 < FALSE_COLORS
