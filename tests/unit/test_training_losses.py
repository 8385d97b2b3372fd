"""What a stylized picture is blamed for, and the recurrence with gradients: it is the one of the films."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fav.flow.field import FlowField
from fav.flow.warp import warp
from fav.flow.warp_torch import warp_tensor
from fav.model.network import InstanceNorm, StyleNetwork
from fav.model.preprocessing import network_input as film_input
from fav.model.runner import StyleRunner
from fav.perceptual.loss import OFFSETS, PerceptualLoss, gram
from fav.perceptual.palette import downsample
from fav.stylize.recurrence import Recurrence
from fav.training.losses import (
    history_loss,
    lattice_loss,
    outlier_loss,
    range_loss,
    scale_palette_loss,
    tanh_saturation_loss,
    temporal_loss,
    total_variation,
)
from fav.training.unroll import mean_bgr, network_input, quantize_ste, unroll
from tests.helpers.networks import random_network
from tests.helpers.training_material import TINY, picture, random_loss_network


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).movedim(-1, 0)[None].float()


def random_flow(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-9, 9, (height, width, 2)).astype(np.float32)


def geometry(seed: int, height: int = 24, width: int = 28) -> FlowField:
    reliability = np.random.default_rng(seed + 100).integers(0, 2, (height, width), np.uint8)
    return FlowField(random_flow(seed, height, width) / 4, reliability)


def test_pictures_are_warped_as_in_a_film():
    image, flow = picture(0, 40, 56).astype(np.float32), random_flow(1, 40, 56)
    ours = warp_tensor(tensor(image), tensor(flow))
    torch.testing.assert_close(ours, tensor(warp(image, flow)), atol=0.02, rtol=0)
    assert warp_tensor(tensor(image), torch.zeros(1, 2, 40, 56)).sub(tensor(image)).abs().max() < 0.01


def test_the_network_sees_what_it_sees_in_a_film():
    frame, prior, hung = picture(0, 24, 28), picture(1, 24, 28).astype(np.float32), geometry(2)
    seen = network_input(tensor(frame), tensor(prior), tensor(hung.reliability[..., None]))
    torch.testing.assert_close(seen, tensor(film_input(frame, prior, hung.reliability)), atol=0, rtol=0)
    torch.testing.assert_close(network_input(tensor(frame)), tensor(film_input(frame)), atol=0, rtol=0)


def test_what_is_painted_in_training_is_the_film():
    network = random_network()
    network[24].weight *= 3  # beyond black and white, so that the clipping is seen
    frames, hung = [picture(number, 24, 28) for number in range(4)], [geometry(number) for number in range(3)]
    film = list(Recurrence(StyleRunner(copy.deepcopy(network))).film(zip(frames, [None, *hung])))
    painted = unroll(
        network.to(memory_format=torch.channels_last),
        [tensor(frame) for frame in frames],
        [tensor(one.flow) for one in hung],
        [tensor(one.reliability[..., None]) for one in hung],
        bptt=True,
    )
    for ours, theirs in zip(painted.stylized, film, strict=True):
        states = quantize_ste(ours)[0].movedim(0, -1).numpy()
        differences = np.abs(states - theirs)
        # A value on the border between two levels may fall to either side, and those after it follow a little.
        assert differences.max() <= 2 and (differences > 0).mean() < 0.02


def test_states_are_rounded_and_clipped_and_gradients_go_straight_through():
    x = torch.tensor([-7.0, 0.4, 99.5, 100.5, 254.6, 300.0], requires_grad=True)
    state = quantize_ste(x)
    assert state.tolist() == [0, 0, 100, 100, 255, 255]
    (state * torch.arange(6)).sum().backward()
    assert x.grad.tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("bptt", [True, False])
def test_gradients_go_back_through_the_steps_only_if_asked(bptt):
    network = random_network(TINY)
    frames = [tensor(picture(number, 24, 28)).requires_grad_() for number in range(3)]
    trust = torch.ones(1, 1, 24, 28)
    painted = unroll(network, frames, [torch.zeros(1, 2, 24, 28)] * 2, [trust] * 2, bptt)
    assert len(painted.stylized) == 3 and len(painted.warped) == 2
    (gradient,) = torch.autograd.grad(painted.stylized[2].square().sum(), frames[0], allow_unused=True)
    assert (gradient is not None and gradient.abs().max() > 0) == bptt


@pytest.mark.parametrize("arch", [TINY, "c3s1-2,d3,R3,u2,c3s1-3"])
def test_the_gradients_of_the_network_are_right(arch):
    torch.manual_seed(0)
    network = StyleNetwork(arch, 7).double()
    x = torch.randn(1, 7, 8, 8, dtype=torch.double, requires_grad=True)
    names, values = zip(*network.named_parameters())

    def run(x, *values):
        return torch.func.functional_call(network, dict(zip(names, values)), x)

    assert torch.autograd.gradcheck(run, (x, *values), fast_mode=True)


def test_gradients_are_those_of_the_layers_one_after_the_other():
    torch.manual_seed(0)
    network, x = StyleNetwork(TINY, 7).double(), torch.randn(2, 7, 16, 20, dtype=torch.double)
    ours = torch.autograd.grad(network(x).square().mean(), network.parameters())
    plain = torch.autograd.grad(torch.nn.Sequential.forward(network, x).square().mean(), network.parameters())
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b)


def test_gram_matrices_are_mean_products_and_have_their_gradients():
    features = torch.randn(2, 3, 4, 5, dtype=torch.float32, requires_grad=True)
    plain = torch.einsum("nchw,ndhw->ncd", features, features) / 20
    torch.testing.assert_close(gram(features), plain)
    target = torch.randn(3, 3)
    target = target + target.T
    ours = torch.autograd.grad((gram(features) - target).square().sum(), features)
    theirs = torch.autograd.grad((plain - target).square().sum(), features)
    torch.testing.assert_close(ours, theirs)


def test_the_temporal_loss_is_the_mean_over_all_pixels_of_what_is_reliable():
    stylized, warped = torch.full((1, 3, 2, 2), 51.0), torch.zeros(1, 3, 2, 2)
    trust = torch.tensor([[1.0, 0.0], [0.5, 0.0]]).view(1, 1, 2, 2)
    assert temporal_loss(stylized, warped, trust).item() == pytest.approx(0.2**2 * 1.5 / 4)


def test_what_was_forgotten_is_the_mean_over_all_values():
    stylized = torch.zeros(1, 3, 2, 2)
    assert history_loss(stylized, stylized) == 0
    assert history_loss(stylized, stylized + torch.tensor([51.0, 0.0])).item() == pytest.approx(0.2**2 / 2)


def test_variation_and_excess_are_in_units_of_the_whole_range():
    steps = torch.tensor([[0.0, 51.0], [0.0, 51.0]]).expand(1, 3, 2, 2)
    assert total_variation(steps).item() == pytest.approx(0.2**2)
    assert range_loss(torch.tensor([-51.0, 0.0, 255.0, 306.0])).item() == pytest.approx(0.2**2 / 2)


def test_what_saturates_is_blamed_and_has_a_gradient():
    drive = torch.tensor([-77.0, -3.0, -2.5, -2.0, 0.0, 2.0], requires_grad=True)
    blame = tanh_saturation_loss(drive)
    assert blame.item() == pytest.approx((2 * 75 - 1 + 1 + 0.25) / 6)
    blame.backward()
    np.testing.assert_allclose(6 * drive.grad, [-2, -2, -1, 0, 0, 0], atol=1e-6)


def test_one_value_that_rules_its_channel_is_blamed_and_ordinary_ones_are_not():
    quiet = torch.randn(1, 1, 40, 50, generator=torch.Generator().manual_seed(0)).clamp(-3, 3)
    loud = quiet.clone()
    loud[0, 0, 20, 20] = 1e6  # (1e6 - mean) / deviation is sqrt(2000 - 1) then, whatever the others are
    assert outlier_loss(100 * quiet + 7) == 0
    assert outlier_loss(loud).item() == pytest.approx(10 * (1999**0.5 - 4) ** 2 / 2000, rel=1e-3)
    assert outlier_loss(torch.cat([quiet, loud], 1)).item() == pytest.approx(outlier_loss(loud).item() / 2)


def test_what_goes_into_the_tanh_is_handed_out_and_nothing_listens_afterwards():
    network = random_network(TINY)
    frames, trust = [tensor(picture(number, 24, 28)) for number in range(2)], torch.ones(1, 1, 24, 28)
    painted = unroll(network, frames, [torch.zeros(1, 2, 24, 28)], [trust], bptt=True)
    assert len(painted.pre_tanh) == 2 and not network[-2]._forward_pre_hooks
    norms = [layer for layer in network.modules() if isinstance(layer, InstanceNorm)]
    assert len(painted.outliers) == 2 * len(norms) and not any(norm._forward_pre_hooks for norm in norms)
    for drive, stylized in zip(painted.pre_tanh, painted.stylized):
        torch.testing.assert_close(150 * drive.tanh() + mean_bgr(drive), stylized)


def test_losses_are_in_units_of_photographs():
    network = random_loss_network()
    photos = [tensor(picture(number, 72, 88)) for number in range(4)]
    perception = PerceptualLoss(network, tensor(picture(9, 72, 88)), photos)
    whole = [F.pad(photo, (0, OFFSETS - 1, 0, OFFSETS - 1)) for photo in photos]  # losses look at all but a border
    losses = [perception.losses(photo, photo) for photo in whole]
    assert [content.item() for content, _ in losses] == [0] * 4
    assert np.mean([style.item() for _, style in losses]) == pytest.approx(1, rel=1e-3)
    same = F.pad(tensor(picture(9, 72, 88)), (0, OFFSETS - 1, 0, OFFSETS - 1))
    content, style = perception.losses(same, whole[0])
    assert style.item() == pytest.approx(0, abs=1e-9) and 0.01 < content.item() < 10


@pytest.mark.parametrize("scale", [0.1, 30])
def test_the_size_of_a_loss_networks_features_does_not_count(scale):
    network, scaled = random_loss_network(), random_loss_network()
    for fire in [scaled.steps[name] for name in scaled.steps if name.startswith("fire")]:
        for layer in (fire.squeeze, fire.expand1, fire.expand3):
            layer.bias.zero_()
    network.load_state_dict(scaled.state_dict())
    for name in ("weight", "bias"):
        getattr(scaled.steps["conv1"][0], name).mul_(scale)
    photos, painting = [tensor(picture(number, 72, 88)) for number in range(3)], tensor(picture(9, 72, 88))
    pair = photos[0], photos[1]
    ours, theirs = (PerceptualLoss(one, painting, photos).losses(*pair) for one in (network, scaled))
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs), rtol=1e-3, atol=1e-6)


def test_every_scale_counts_alike_and_too_small_ones_are_left_out():
    network = random_loss_network()
    photos, painting = [tensor(picture(number, 160, 144)) for number in range(3)], tensor(picture(9, 160, 144))
    several = PerceptualLoss(network, painting, photos, (1, 2, 4))
    assert several.scales == [1, 2, 4] and several.content_scale == 2
    assert PerceptualLoss(network, painting, [tensor(picture(0, 72, 88))], (1, 2, 4)).scales == [1, 2]
    assert PerceptualLoss(network, tensor(picture(9, 40, 40)), photos, (1, 2, 4)).content_scale == 1
    pair = F.pad(photos[0], (0, OFFSETS - 1, 0, OFFSETS - 1)), F.pad(photos[1], (0, OFFSETS - 1, 0, OFFSETS - 1))
    alone = [
        PerceptualLoss(network, downsample(painting, scale), [downsample(photo, scale) for photo in photos])
        for scale in (1, 2, 4)
    ]
    seen = [
        one.losses(*(F.pad(downsample(photo, scale), (0, OFFSETS - 1, 0, OFFSETS - 1)) for photo in photos[:2]))
        for one, scale in zip(alone, (1, 2, 4))
    ]
    content, style = several.losses(*pair)
    assert style.item() == pytest.approx(np.mean([style.item() for _, style in seen]), rel=1e-4)
    assert content.item() == pytest.approx(seen[1][0].item(), rel=1e-4)


def test_zoom_shows_the_losses_a_larger_picture():
    network = random_loss_network()
    photos = [tensor(picture(number, 72, 88)) for number in range(3)]
    perception = PerceptualLoss(network, photos[0], photos)
    zoomed = perception.losses(photos[1], photos[2], (0, 0), 1.25)
    larger = [F.interpolate(photo[..., :65, :81], (81, 101), mode="bilinear") for photo in photos[1:]]
    same = perception.losses(*(F.pad(photo, (0, OFFSETS - 1, 0, OFFSETS - 1)) for photo in larger))
    torch.testing.assert_close(torch.stack(zoomed), torch.stack(same))


def test_the_palette_is_that_of_all_pictures_together_in_units_of_photographs():
    photos = [tensor(picture(number, 72, 88)) for number in range(4)]
    painting = tensor(picture(9, 72, 88))
    perception, axes = PerceptualLoss(random_loss_network(), painting, photos), torch.eye(3)
    assert np.mean([perception.palette(photo, axes).item() for photo in photos]) == pytest.approx(1, rel=1e-3)
    assert perception.palette(painting.flip(3), axes).item() < 0.01
    halves = painting[..., :36, :], painting[..., 36:, :]
    together = perception.palette(torch.cat(halves), axes).item()
    assert together < np.mean([perception.palette(half, axes).item() for half in halves])
    moved = (painting + 20).requires_grad_()
    perception.palette(moved, axes).backward()
    assert moved.grad.mean() > 0 and moved.grad[..., :8].abs().max() == 0


def test_colors_that_are_far_off_count_for_more():
    assert scale_palette_loss(torch.tensor([0.0, 0.05, 1.0])).tolist() == pytest.approx([0, 0.0525, 21])


@pytest.mark.parametrize("period", [2, 3, 4, 8])
def test_a_pattern_of_the_period_is_blamed_and_others_are_not(period):
    y, x = np.mgrid[:160, :160]
    wave = 25.5 * np.sin(2 * np.pi * (x + 0.5) / period + 0.3)
    expected = np.square(wave).mean() / 255**2
    assert lattice_loss(tensor(np.stack([wave] * 3, -1)), period).item() == pytest.approx(expected, rel=0.01)
    assert lattice_loss(torch.full((2, 3, 160, 160), 77.0), period) == pytest.approx(0, abs=1e-9)
    slope = tensor(np.stack([x * 1.0] * 3, -1))
    assert lattice_loss(slope, period).item() < 1e-6
    strokes = torch.from_numpy(np.random.default_rng(0).normal(128, 20, (1, 3, 160, 160))).float()
    assert lattice_loss(strokes, period).item() < 1.3 * (20 / 255) ** 2 / 16
    assert lattice_loss(strokes[..., : 4 * period - 1, :], period) == 0 == lattice_loss(strokes, 1)


def test_the_offset_moves_what_the_losses_look_at():
    network = random_loss_network()
    photos = [tensor(picture(number, 72, 88)) for number in range(3)]
    perception = PerceptualLoss(network, photos[0], photos)
    moved = perception.losses(photos[1], photos[2], (3, 5))
    cut = [F.pad(photo[..., 5 : 5 + 65, 3 : 3 + 81], (0, OFFSETS - 1, 0, OFFSETS - 1)) for photo in photos[1:]]
    torch.testing.assert_close(torch.stack(moved), torch.stack(perception.losses(*cut)))
