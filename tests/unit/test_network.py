"""The network of an architecture string: its sizes, its names and its shortcuts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fav.errors import FavError
from fav.model.architecture import DEFAULT_ARCH, HALF_WIDTH, WIDE_VIEW, Layer, parse
from fav.model.network import (
    InstanceNorm,
    ReflectionPad,
    ResidualBlock,
    StyleNetwork,
    Upsample,
    fused_upsample_conv,
)
from tests.helpers.networks import SMALL, STRINGS, picture, random_network


@torch.inference_mode()
def test_the_default_has_the_keys_and_the_padding_of_the_published_models():
    with torch.device("meta"):
        network = StyleNetwork(DEFAULT_ARCH, 7)
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert network.padding == 40 and network.multiple == 1
    assert len(shapes) == 2 * (6 + 5 * 4 + 6) - 2
    assert shapes["1.weight"] == (32, 7, 9, 9) and shapes["2.bias"] == (32,)
    assert shapes["7.weight"] == (128, 64, 3, 3) and shapes["14.0.0.3.weight"] == (128, 128, 3, 3)
    assert shapes["16.weight"] == (128,) and shapes["18.weight"] == (64, 128, 3, 3)
    assert shapes["22.weight"] == (64,) and shapes["24.weight"] == (3, 64, 9, 9)


@pytest.mark.parametrize("arch", STRINGS)
@torch.inference_mode()
def test_the_shortcuts_change_nothing_but_the_order_of_the_sums(arch):
    network, x = random_network(arch).double(), picture(24, 48).double()
    rest, cut = nn.Sequential.forward(network, x.clone()), network.margin
    torch.testing.assert_close(network(x.clone()), rest[..., cut : cut + 24, cut : cut + 48])


@pytest.mark.parametrize("arch", [DEFAULT_ARCH, HALF_WIDTH, SMALL, "c9s1-4,d6,d8,R8,u6,u4,c9s1-3"])
@torch.inference_mode()
def test_styles_of_before_are_painted_bit_for_bit_as_they_were(arch):
    """By the forward pass of the version that trained them, at sizes that it left as they are."""
    network, x = random_network(arch), picture(48, 64)
    y, factor = x.clone(), 1
    for layer in network:
        if isinstance(layer, Upsample):
            factor *= layer.factor
        elif factor > 1 and isinstance(layer, nn.Conv2d) and layer.stride == (1, 1):
            y, factor = fused_upsample_conv(y, layer, factor), 1
        elif isinstance(layer, ReflectionPad):
            y = F.pad(y, (layer.padding,) * 4, mode="reflect")
        elif isinstance(layer, ResidualBlock):
            y = layer[0][0](y) + y[..., 2:-2, 2:-2]
        else:
            y = layer(y)
    assert torch.equal(network(x), y)


@torch.inference_mode()
def test_the_layers_do_what_the_published_ones_do():
    """The network against torch's own functions, written down in the order of the authors' Lua."""
    network, x = random_network(), picture(48, 52)

    def convolve(y, layer, stride=1, padding=0):
        return F.conv2d(y, layer.weight, layer.bias, stride, padding)

    def normalize(y, layer):
        return F.instance_norm(y, weight=layer.weight, bias=layer.bias, eps=1e-5)

    y = F.pad(x, (40, 40, 40, 40), mode="reflect")
    for number, stride, padding in (1, 1, 4), (4, 2, 1), (7, 2, 1):
        y = normalize(convolve(y, network[number], stride, padding), network[number + 1]).relu()
    assert y.shape[2:] == (32, 33)
    for number in range(10, 15):
        first, norm1, _, second, norm2 = network[number][0][0]
        branch = normalize(convolve(normalize(convolve(y, first), norm1).relu(), second), norm2)
        y = branch + y[..., 2:-2, 2:-2]
    y = normalize(F.interpolate(y, scale_factor=2), network[16]).relu()
    y = normalize(convolve(y, network[18], 1, 1), network[19]).relu()
    y = normalize(F.interpolate(y, scale_factor=2), network[22]).relu()
    y = 150 * convolve(y, network[24], 1, 4).tanh()
    torch.testing.assert_close(network(x), y, atol=5e-3, rtol=1e-4)


@pytest.mark.parametrize("height, width", [(1, 1), (1, 9), (2, 3), (41, 44), (43, 50), (16, 130)])
@torch.inference_mode()
def test_any_frame_keeps_its_size(height, width):
    y = random_network()(picture(height, width))
    assert y.shape == (1, 3, height, width) and y.isfinite().all() and y.abs().max() <= 150


@pytest.mark.parametrize("height, width", [(62, 57), (61, 56), (64, 59), (63, 63)])
@torch.inference_mode()
def test_a_frame_that_does_not_divide_passes_as_in_the_published_network(height, width):
    """Only 40 mirrored pixels a side are put around it, whatever its size; what comes out too large is cropped."""
    network, x = random_network(), picture(height, width)
    y = F.pad(x, (40, 40, 40, 40), mode="reflect")
    for layer in list(network)[1:]:
        y = layer(y)
    assert y.shape[2:] == (-(-height // 4) * 4, -(-width // 4) * 4)
    torch.testing.assert_close(network(x), y[..., :height, :width], atol=5e-3, rtol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_a_mirror_goes_back_and_forth_over_frames_smaller_than_its_border(size):
    x = torch.arange(float(size * 3)).view(1, 1, size, 3)
    expected = np.pad(x[0, 0], ((10, 10 + -size % 4), (10, 11)), mode="reflect")
    assert np.array_equal(ReflectionPad(10, 4)(x)[0, 0], expected)


@pytest.mark.parametrize("kernel", [1, 3, 5, 9])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_convolution_of_repeated_pixels_is_done_on_the_small_picture(kernel, factor):
    conv = nn.Conv2d(4, 5, kernel, padding=kernel // 2).double()
    x = picture(7, 9, 4).double()
    torch.testing.assert_close(fused_upsample_conv(x, conv, factor), conv(Upsample(factor)(x)))


def test_instance_norm_gives_each_channel_its_own_mean_and_spread():
    norm = InstanceNorm(2)
    norm.weight.data, norm.bias.data = torch.tensor([1.0, 10.0]), torch.tensor([0.0, 5.0])
    ramp = torch.tensor([[1.0, 3.0], [1.0, 3.0]])  # mean 2, standard deviation 1
    y = norm(torch.stack([ramp, 100 * ramp])[None])[0]
    torch.testing.assert_close(y[0], ramp - 2, atol=1e-4, rtol=0)
    torch.testing.assert_close(y[1], 10 * (ramp - 2) + 5, atol=1e-4, rtol=0)


@torch.inference_mode()
def test_a_black_frame_is_as_finite_as_any():
    network = random_network()
    assert network(torch.zeros(1, 7, 20, 20)).isfinite().all()


@torch.inference_mode()
def test_an_even_frame_is_painted_as_exactly_as_any_other():
    """Norms of features without any spread would make rounding errors as large as a picture."""
    network = random_network(WIDE_VIEW)
    for level in (-110.0, 0.061, 60.0):  # black, the gray that is nearest to the mean color, white
        frame = torch.full((1, 7, 40, 60), level)
        torch.testing.assert_close(
            network(frame.clone()).double(), random_network(WIDE_VIEW).double()(frame.double()), atol=0.05, rtol=0
        )


@torch.inference_mode()
def test_a_margin_is_painted_and_cut_off():
    network, x = random_network("E,c3s1-4,[d6,R6,U2,c3s1-4],c3s1-3"), picture(30, 21)
    assert (network.padding, network.margin, network.multiple) == (8, 8, 2)
    mirrored = F.pad(x, (8, 9, 8, 8), mode="reflect")
    mirrored[..., [0, -1], :] += 1
    mirrored[..., 1:-1, [0, -1]] += 1
    painted = nn.Sequential.forward(nn.Sequential(*list(network)[1:]), mirrored)
    assert painted.shape[2:] == (46, 38)
    torch.testing.assert_close(network(x), painted[..., 8:38, 8:29], atol=5e-3, rtol=1e-4)


@pytest.mark.parametrize("kernel", [3, 5, 9])
def test_edges_of_repeated_pixels_are_continued_as_those_of_the_small_picture(kernel):
    conv = nn.Conv2d(4, 5, kernel, padding=kernel // 2, padding_mode="replicate").double()
    x = picture(7, 9, 4).double()
    torch.testing.assert_close(fused_upsample_conv(x, conv, 2), conv(Upsample(2)(x)))


@torch.inference_mode()
def test_all_pixels_of_a_square_begin_with_the_same_weights():
    """So a new sub-pixel convolution makes no lattice."""
    torch.manual_seed(0)
    y = StyleNetwork("E,c3s1-8,d8,p3s2-8,c3s2-8,p5s2-3", 3)[-3](picture(6, 8, 8))
    assert torch.equal(y, Upsample(2)(y[..., ::2, ::2]))


def test_gradients_reach_every_weight_and_the_frame_before():
    network, x = random_network().requires_grad_(True), picture(16, 20).requires_grad_()
    network(x).square().mean().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in network.parameters())
    assert x.grad.abs().sum() > 0
    kernels = [value.grad for value in network.parameters() if value.ndim == 4]
    assert all(gradient.abs().sum() > 0 for gradient in kernels)


@torch.inference_mode()
def test_gradients_do_not_change_what_comes_out():
    network, x = random_network(), picture(20, 24)
    with torch.inference_mode(False), torch.enable_grad():
        learning = network(picture(20, 24))
    torch.testing.assert_close(learning, network(x), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("channels", [3, 7])
@torch.inference_mode()
def test_one_thread_and_two_give_the_same_bits(channels):
    network = random_network("c9s1-16,d32,d64,R64,R64,U2,c3s1-32,U2,c9s1-3", channels).to(
        memory_format=torch.channels_last
    )
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            x = picture(75, 118, channels).contiguous(memory_format=torch.channels_last)
            results.append(network(x))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*results)


def test_an_architecture_is_read_entry_by_entry():
    assert parse("c9s1-32,d64,R64,U2,u5,f3s2-3") == [
        Layer("c", 9, 1, 32),
        Layer("c", 3, 2, 64),
        Layer("R", 3, 1, 64),
        Layer("U", 1, 2, 0),
        Layer("f", 3, 2, 5),
        Layer("f", 3, 2, 3),
    ]


@pytest.mark.parametrize(
    "arch, complaint",
    [
        ("", "got ''"),
        ("c9s1-32,,c9s1-3", "got ''"),
        ("c9s1-32, d64", "got ' d64'"),
        ("c9s1-32,x5,c9s1-3", "got 'x5'"),
        ("c9s0-32", "got 'c9s0-32'"),
        ("c8s1-32,c9s1-3", "odd kernel"),
        ("c9s1-99999,c9s1-3", "got 'c9s1-99999'"),
        ("c9s1-32,R16,c9s1-3", "a residual block keeps 32 channels, got R16"),
        ("c9s1-32,d64,c9s1-3", "got 1/2 times that"),
        ("c9s1-32,U2,c9s1-3", "got 2 times that"),
        ("c9s1-32,c9s1-4", "expected 3 channels at the end, got 4"),
        (",".join(["c3s1-3"] * 101), "at most 100 layers"),
        ("c3s9-4,c3s9-4,U9,U9,c3s1-3", "expected feature maps of 1/64 to 4 times the size of the frame"),
        ("U8,c3s8-4,c3s1-3", "expected feature maps of 1/64 to 4 times the size of the frame"),
    ],
)
def test_an_architecture_that_makes_no_sense_is_refused_in_one_line(arch, complaint):
    with pytest.raises(FavError) as error, torch.device("meta"):
        StyleNetwork(arch, 7)
    assert complaint in str(error.value) and "\n" not in str(error.value)
