"""What an architecture string says without any weights: its layers, the sizes on the way, and how far a network sees."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import nn

from fav.errors import FavError
from fav.model.architecture import PRESETS, WIDE_VIEW, Layer, join, parse, receptive_field
from fav.model.network import InstanceNorm, StyleNetwork, run_layers
from tests.helpers.networks import MARKED, STRINGS

ALL = [*STRINGS, *MARKED, *PRESETS.values()]


def narrow(layers: Sequence[Layer]) -> list[Layer]:
    """The same layers with two channels each, but for what comes out of the last one."""
    return [replace(layer, channels=min(layer.channels, 2), inner=tuple(narrow(layer.inner))) for layer in layers]


def seen_by_gradient(arch: str) -> int:
    """The largest number of columns of a frame that a pixel depends on, by the gradients of a network of positive weights."""
    layers = narrow(parse(arch))
    layers[-1] = replace(layers[-1], channels=3 if layers[-1].channels else 0)
    torch.manual_seed(0)
    network = StyleNetwork(join(layers), 3).double()
    for module in [*network.modules()]:
        for name, child in module.named_children():
            if isinstance(child, (InstanceNorm, nn.ReLU, nn.Tanh)):
                setattr(module, name, nn.Identity())
    for value in network.parameters():
        value.data = value.data.abs() if value.ndim == 4 else value.data * 0
    width = (3 * receptive_field(arch) // network.period + 2) * network.period  # no side is made to fit
    frame = torch.ones(1, 3, 4, width, dtype=torch.float64, requires_grad=True)
    columns = network(frame)[0, :, 0].sum(0)
    middle = width // 2
    found = []
    for column in range(middle, middle + network.period):
        (gradient,) = torch.autograd.grad(columns[column], frame, retain_graph=True)
        touched = gradient.abs().sum((0, 1, 2)).nonzero().flatten()
        found.append(int(touched[-1] - touched[0]) + 1)
    return max(found)


@pytest.mark.parametrize("arch", [arch for arch in (*STRINGS, WIDE_VIEW) if not arch.endswith("U2")])
def test_a_pixel_depends_on_as_much_of_the_frame_as_the_string_says(arch):
    assert seen_by_gradient(arch) == receptive_field(arch)


def test_new_styles_see_a_swirl_and_styles_of_before_two_thirds_of_one():
    assert (
        receptive_field(WIDE_VIEW) >= 200
        and receptive_field(PRESETS["half"]) == receptive_field(PRESETS["full"]) == 107
    )


@pytest.mark.parametrize("arch", ALL)
def test_layers_become_the_string_that_they_came_from(arch):
    assert parse(join(parse(arch))) == parse(arch)
    assert join(parse(arch)) == arch.replace("c3s2-", "d").replace("f3s2-", "u")


def test_entries_beyond_the_authors_are_read_one_by_one():
    assert parse("E,c7s2-8,[d6,[R6d2],U2,c3s1-8],S8x2k7,p3s2-3") == [
        Layer("E", 1, 1, 0),
        Layer("c", 7, 2, 8),
        Layer(
            "[",
            1,
            1,
            0,
            inner=(
                Layer("c", 3, 2, 6),
                Layer("[", 1, 1, 0, inner=(Layer("R", 3, 1, 6, dilation=2),)),
                Layer("U", 1, 2, 0),
                Layer("c", 3, 1, 8),
            ),
        ),
        Layer("S", 7, 1, 8, expansion=2),
        Layer("p", 3, 2, 3),
    ]


@pytest.mark.parametrize(
    "arch, complaint",
    [
        ("c3s1-4,E,c3s1-3", "expected E as the first entry alone, got it as number 2"),
        ("[E],c3s1-3", "expected E as the first entry alone"),
        ("E", "expected 3 channels at the end, got 7"),
        ("E,[c3s1-7", "expected a ] for each [, got 1 without"),
        ("E,c3s1-3]", "expected a [ for each ], got 'c3s1-3]'"),
        ("E,[],c3s1-3", "got ''"),
        ("E,[[[[[[[c3s1-7]]]]]]],c3s1-3", "at most 6 open [, got 7"),
        ("E,c3s1-4,[d4],c3s1-3", "a branch that keeps the size, got 1/2 times that from '[d4]'"),
        ("E,c3s1-4,[d8,U2],c3s1-3", "a branch keeps 4 channels, got 8 from [d8,U2]"),
        ("E,c3s1-4,S8x2k3,c3s1-3", "a residual block keeps 4 channels, got S8x2k3"),
        ("E,c3s1-4,S4x2k4,c3s1-3", "odd kernel"),
        ("E,d4,u3", "expected f and u only without E, got 'u3'"),
        ("c3s1-4,S4x2k3,c3s1-3", "expected S and [...] only after an E at the beginning, got 'S4x2k3'"),
        ("c3s1-4,[d4,U2],c3s1-3", "expected S and [...] only after an E at the beginning"),
        ("E,c3s1-4,R4d0,c3s1-3", "got 'R4d0'"),
        ("E,c3s1-4,p2s2-3", "odd kernel"),
        ("A,B,c3s1-3", "expected E, or B and A, at the beginning, and L and A at the end"),
        ("c3s1-4,L,c3s1-3", "expected E, or B and A, at the beginning, and L and A at the end"),
        ("E,c3s1-3,L", "expected B, A and L only without E"),
        ("E,c3s1-7,[c3s1-7,L],c3s1-3", "expected E, or B and A, at the beginning"),
        ("E,c3s1-3m", "expected m, e, z and p after an entry only without E, got 'c3s1-3m'"),
        ("u4m,d3", "expected 'm' only after c, d and R, got 'u4m'"),
        ("c3s1-3z", "got 'c3s1-3z'"),
    ],
)
def test_a_string_that_makes_no_sense_is_refused_in_one_line(arch, complaint):
    with pytest.raises(FavError) as error, torch.device("meta"):
        StyleNetwork(arch, 7)
    assert complaint in str(error.value) and "\n" not in str(error.value)


def test_the_layers_of_a_branch_run_as_those_of_a_network_do():
    network = StyleNetwork("E,c3s1-4,[d4,U2,c3s1-4],c3s1-3", 3).eval().requires_grad_(False)
    x = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(0))
    assert torch.equal(network[4](x.clone()), run_layers(network[4], x.clone()) + x)
