"""The recurrence, and one frame through the network."""

import cv2
import numpy as np
import pytest
import torch

from fav.errors import FavError
from fav.flow.consistency import reliability
from fav.flow.field import FlowField
from fav.flow.warp import warp
from fav.model.checkpoints import load_style
from fav.model.preprocessing import MEAN_BGR, fill_for, network_input
from fav.model.runner import StyleRunner
from fav.stylize.recurrence import Recurrence
from tests.helpers.material import material
from tests.helpers.networks import BUNDLED, random_network

HEIGHT, WIDTH = 20, 28


def frame(value: int = 0) -> np.ndarray:
    return np.random.default_rng(value).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def geometry(x: float = 0, y: float = 0, trusted: float = 1) -> FlowField:
    flow = np.full((HEIGHT, WIDTH, 2), (x, y), np.float32)
    return FlowField(flow, np.full((HEIGHT, WIDTH), trusted, np.float32))


@pytest.fixture(scope="module")
def runner() -> StyleRunner:
    return StyleRunner(random_network())


@pytest.fixture(scope="module")
def image_runner() -> StyleRunner:
    return StyleRunner(random_network(in_channels=3))


def test_the_network_sees_frame_prior_and_reliability():
    here, prior, trusted = frame(1), frame(2), np.zeros((HEIGHT, WIDTH), np.uint8)
    trusted[:, 10:] = 1
    seen = network_input(here, prior, trusted)
    assert seen.shape == (HEIGHT, WIDTH, 7) and seen.dtype == np.float32
    np.testing.assert_allclose(seen[..., :3], here - np.array([103.939, 116.779, 123.68]), atol=1e-4)
    np.testing.assert_allclose(seen[:, 10:, 3:6], prior[:, 10:] - np.array([103.939, 116.779, 123.68]), atol=1e-4)
    assert not seen[:, :10, 3:].any() and (seen[:, 10:, 6] == 1).all()


def test_what_is_half_reliable_is_half_filled():
    prior, fill = np.full((HEIGHT, WIDTH, 3), 200, np.uint8), np.full((HEIGHT, WIDTH, 3), -40, np.float32)
    seen = network_input(frame(), prior, np.full((HEIGHT, WIDTH), 0.25, np.float32), fill)
    np.testing.assert_allclose(
        seen[..., 3:6], np.broadcast_to(0.25 * (200 - MEAN_BGR) - 30, (HEIGHT, WIDTH, 3)), rtol=1e-5
    )
    assert (seen[..., 6] == 0.25).all()


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_the_networks_input_is_the_formula_bit_by_bit(kind):
    here, prior, fill = frame(1), frame(2).astype(kind), frame(3).astype(np.float32)
    trusted = np.random.default_rng(4).random((HEIGHT, WIDTH, 1), np.float32)
    formula = np.dstack([here - MEAN_BGR, (prior - MEAN_BGR) * trusted + fill * (1 - trusted), trusted])
    assert network_input(here, prior, trusted[..., 0], fill).tobytes() == formula.tobytes()
    formula = np.dstack([here - MEAN_BGR, (prior - MEAN_BGR) * trusted, trusted])
    assert network_input(here, prior, trusted[..., 0]).tobytes() == formula.tobytes()


def test_without_a_prior_nothing_is_reliable():
    fill = np.full((HEIGHT, WIDTH, 3), 7, np.float32)
    assert not network_input(frame())[..., 3:].any()
    seen = network_input(frame(), fill=fill)
    assert (seen[..., 3:6] == 7).all() and not seen[..., 6].any()
    nothing = np.zeros((HEIGHT, WIDTH), np.uint8)
    assert np.array_equal(seen, network_input(frame(), frame(3), nothing, fill))


@pytest.mark.parametrize(
    "pieces, complaint",
    [
        ((np.zeros((4, 5), np.uint8),), r"frame: expected \(any, any, 3\), got \(4, 5\)"),
        ((frame(), frame()), r"reliability: expected \(20, 28\), got none"),
        ((frame(), frame()[1:], np.ones((20, 28))), r"warped prior: expected \(20, 28, 3\), got \(19, 28, 3\)"),
        ((frame(), frame(), np.ones((28, 20))), r"reliability: expected \(20, 28\), got \(28, 20\)"),
        ((frame(), None, None, np.zeros((20, 28))), r"fill: expected \(20, 28, 3\), got \(20, 28\)"),
    ],
)
def test_pieces_that_do_not_fit_are_named(pieces, complaint):
    with pytest.raises(FavError, match=complaint):
        network_input(*pieces)


def test_noise_is_a_function_of_job_and_frame():
    noise = fill_for("uniform-random", "job 1", 5, (200, 200, 3))
    assert noise.dtype == np.float32 and noise.shape == (200, 200, 3)
    assert np.array_equal(noise, fill_for("uniform-random", "job 1", 5, (200, 200, 3)))
    assert not np.array_equal(noise, fill_for("uniform-random", "job 1", 6, (200, 200, 3)))
    assert not np.array_equal(noise, fill_for("uniform-random", "job 2", 5, (200, 200, 3)))
    levels = noise + MEAN_BGR
    assert levels.min() > -1e-3 and levels.max() < 255.001
    assert abs(levels.mean() - 127.5) < 1 and abs(levels.std() - 255 / 12**0.5) < 1
    assert fill_for("vgg-mean", "job 1", 5, (2, 2, 3)) is None
    with pytest.raises(FavError, match="fill: expected vgg-mean or uniform-random, got 'black'"):
        fill_for("black", "job 1", 5, (2, 2, 3))


def test_a_runner_does_what_the_network_does():
    prior, trusted = frame(2), np.random.default_rng(3).integers(0, 2, (HEIGHT, WIDTH), np.uint8)
    seen_by = {7: network_input(frame(), prior, trusted), 3: frame() - MEAN_BGR}
    for channels, seen in seen_by.items():
        network = random_network(in_channels=channels)
        network[24].weight *= 5  # beyond black and white, so that the clipping is seen
        here = StyleRunner(network)
        with torch.inference_mode():
            y = here.network(torch.from_numpy(seen).permute(2, 0, 1)[None].contiguous())[0]
        levels = y.permute(1, 2, 0).numpy() + MEAN_BGR
        assert levels.min() < 0 and levels.max() > 255
        out = here.stylize(frame(), prior, trusted)
        assert out.dtype == np.uint8 and out.shape == (HEIGHT, WIDTH, 3) and out.flags.c_contiguous
        assert np.abs(out - np.clip(levels, 0, 255)).max() <= 0.51


def test_a_frame_stays_as_it_was_and_comes_out_the_same_again(runner):
    here = frame()
    first = runner.stylize(here)
    assert np.array_equal(here, frame()) and np.array_equal(first, runner.stylize(here))


def test_the_prior_counts_only_where_it_is_reliable(runner):
    nothing, half = np.zeros((HEIGHT, WIDTH), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    half[:, :14] = 1
    other = frame(2)
    other[:, 14:] = 0
    alone = runner.stylize(frame())
    assert np.array_equal(alone, runner.stylize(frame(), frame(2), nothing))
    assert np.array_equal(runner.stylize(frame(), frame(2), half), runner.stylize(frame(), other, half))
    assert not np.array_equal(alone, runner.stylize(frame(), frame(2), half))


def test_an_image_model_sees_the_frame_alone(image_runner):
    assert np.array_equal(
        image_runner.stylize(frame()), image_runner.stylize(frame(), frame(2), np.ones((HEIGHT, WIDTH)))
    )
    assert image_runner.in_channels == 3


def test_a_shot_is_painted_frame_by_frame_from_the_warped_frame_before(runner):
    links = [(frame(1), None), (frame(2), geometry(1, 0)), (frame(3), geometry(0, -2, 0.5))]
    one, two, three = Recurrence(runner).film(links)
    assert np.array_equal(one, runner.stylize(frame(1)))
    moved = np.concatenate([one[:, 1:], one[:, -1:]], axis=1)  # fetched from one pixel to the right
    assert np.array_equal(two, runner.stylize(frame(2), moved, np.ones((HEIGHT, WIDTH))))
    assert np.array_equal(three, Recurrence(runner).next(frame(3), two, geometry(0, -2, 0.5)))


def test_the_prior_is_not_rounded_again_when_it_is_warped(runner):
    prior, link = frame(1), geometry(0.5, 0)
    expected = runner.stylize(frame(2), warp(prior.astype(np.float32), link.flow), link.reliability)
    assert np.array_equal(Recurrence(runner).next(frame(2), prior, link), expected)


def test_a_cut_starts_anew_with_the_model_for_first_frames(runner, image_runner):
    links = [(frame(1), None), (frame(2), geometry()), (frame(3), None), (frame(4), geometry())]
    out = list(Recurrence(runner, image_runner).film(links))
    assert np.array_equal(out[0], image_runner.stylize(frame(1))) and np.array_equal(
        out[2], image_runner.stylize(frame(3))
    )
    assert np.array_equal(out[3], runner.stylize(frame(4), out[2], np.ones((HEIGHT, WIDTH))))


def test_a_seed_is_the_first_frame(runner):
    seed = frame(9)
    out = list(Recurrence(runner, init_frame=seed).film([(frame(1), None), (frame(2), geometry())]))
    assert np.array_equal(out[0], seed) and np.array_equal(
        out[1], runner.stylize(frame(2), seed, np.ones((HEIGHT, WIDTH)))
    )


def test_a_chain_that_is_taken_up_again_is_the_same_film(runner):
    links = [(frame(1), None), *((frame(number), geometry(0.3, -0.7, 0.5)) for number in range(2, 6))]
    whole = list(Recurrence(runner, fill="uniform-random", key="job").film(links, number=10))
    rest = [(frame(3), None), *links[3:]]
    resumed = list(Recurrence(runner, init_frame=whole[2], fill="uniform-random", key="job").film(rest, number=12))
    assert all(np.array_equal(a, b) for a, b in zip(whole[2:], resumed, strict=True))


def test_backwards_the_numbers_of_the_noise_go_down(runner):
    links = [(frame(1), None), (frame(2), geometry(trusted=0))]
    out = list(Recurrence(runner, fill="uniform-random", key="job").film(links, number=7, step=-1))
    for number, picture in (7, out[0]), (6, out[1]):
        noise = fill_for("uniform-random", "job", number, (HEIGHT, WIDTH, 3))
        assert np.array_equal(picture, runner.stylize(frame(8 - number), fill=noise))


def test_a_shot_waits_for_nothing_it_does_not_need(runner):
    asked = []

    def links():
        for number in range(3):
            asked.append(number)
            yield frame(number), None if number == 0 else geometry()

    next(Recurrence(runner).film(links()))
    assert asked == [0]


def test_the_numeric_class_is_one_line_that_tells_threads_and_processor(runner):
    line = runner.numeric_class()
    assert "\n" not in line and "float32" in line and f"torch {torch.__version__}" in line
    assert torch.backends.cpu.get_cpu_capability() in line and f"{torch.get_num_threads()} threads" in line


@pytest.mark.parametrize("device", ["nonsense", "cuda:77"])
def test_a_device_that_is_not_here_is_refused_in_one_line(device):
    with pytest.raises(FavError, match=f"device {device}: not usable here") as error:
        StyleRunner(random_network(), device=device)
    assert "\n" not in str(error.value)


def test_the_bundled_style_paints_the_dark_blue_and_the_bright_yellow():
    ramp = np.repeat(np.linspace(0, 255, 160).astype(np.uint8)[None, :, None], 96, 0).repeat(3, 2)
    out = StyleRunner(load_style(BUNDLED, in_channels=7)).stylize(ramp)
    dark, bright = out[:, :60].mean((0, 1)), out[:, 140:].mean((0, 1))
    assert dark[0] > dark[2] + 20 and bright[2] > bright[0] + 10  # BGR


def test_the_bundled_style_keeps_a_film_steadier_than_frames_alone():
    capture = cv2.VideoCapture(str(material("videos/bigbuckbunny.mp4")))
    frames = [cv2.resize(capture.read()[1], (320, 180), interpolation=cv2.INTER_AREA) for _ in range(5)]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grays = [cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) for picture in frames]
    links: list[tuple[np.ndarray, FlowField | None]] = [(frames[0], None)]
    for picture, there, here in zip(frames[1:], grays, grays[1:]):
        flow_bwd, flow_fwd = flow.calc(here, there, None), flow.calc(there, here, None)
        links.append((picture, FlowField(flow_bwd, reliability(flow_bwd, flow_fwd, picture))))
    runner = StyleRunner(load_style(BUNDLED, in_channels=7))

    def unrest(film: list[np.ndarray]) -> float:
        """Mean square by which reliable pixels differ from the warped frame before."""
        misses = [
            np.square(now - warp(before.astype(np.float32), link.flow))[link.reliability > 0].mean()
            for now, before, (_, link) in zip(film[1:], film, links[1:])
        ]
        return float(np.mean(misses))

    chained = list(Recurrence(runner).film(links))
    alone = [runner.stylize(picture) for picture in frames]
    assert unrest(chained) < 0.99 * unrest(alone)  # frames alone are nearly as steady: the training has made them so
    astray = [(picture, link and FlowField(-link.flow - 3, link.reliability)) for picture, link in links]
    assert unrest(list(Recurrence(runner).film(astray))) > unrest(alone)
