"""A wider network begins with what a narrower one does, and channels that began alike part as it learns."""

import pytest
import torch

from fav.errors import FavError
from fav.training.net2wider import net2wider
from tests.helpers.networks import SMALL, TRANSPOSED, picture, random_network

WIDER = {
    SMALL: "c9s1-8,d6,d24,R24,R24,R24,R24,R24,U2,c3s1-6,U2,c9s1-3",
    TRANSPOSED: "c9s1-8,d12,d16,R16,R16,u12,u8,c9s1-3",
    "E,c5s2-4,[d6,S6x2k3,R6d2,U2,c3s1-4],p3s2-4,c3s1-3": "E,c5s2-8,[d18,S18x2k3,R18d2,U2,c3s1-8],p3s2-12,c3s1-3",
}


@pytest.mark.parametrize("arch, wide", WIDER.items())
@pytest.mark.parametrize("in_channels", [3, 7])
def test_a_wider_network_paints_the_same(arch, wide, in_channels):
    network = random_network(arch, in_channels)
    larger = net2wider(network, wide, seed=0)
    assert (larger.arch, larger.in_channels, larger.tanh_constant) == (wide, in_channels, network.tanh_constant)
    x = picture(20, 24, in_channels)
    with torch.inference_mode():
        assert (network(x.clone()) - larger(x.clone())).abs().max() < 0.01  # gray levels


def test_channels_that_began_alike_learn_to_differ():
    larger = net2wider(random_network(), WIDER[SMALL], seed=0).requires_grad_()
    first = larger[1].weight
    assert torch.equal(first[:4], first[4:])
    larger(picture(20, 24)).square().mean().backward()
    torch.optim.Adam(larger.parameters(), 1e-3).step()
    assert (first[:4] - first[4:]).abs().max() > 1e-4


def test_the_same_seed_gives_the_same_weights():
    states = [net2wider(random_network(), WIDER[SMALL], seed).state_dict() for seed in (0, 0, 1)]
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())
    assert not all(torch.equal(value, states[2][key]) for key, value in states[0].items())


def test_its_own_architecture_changes_nothing():
    network = random_network()
    assert net2wider(network, SMALL, seed=0) is network


@pytest.mark.parametrize("arch", [
    "c9s1-6,d6,d8,R8,R8,R8,R8,R8,U2,c3s1-6,U2,c9s1-3",  # 6 is not a multiple of 4
    "c9s1-2,d3,d4,R4,R4,R4,R4,R4,U2,c3s1-3,U2,c9s1-3",  # narrower
    "c9s1-8,d12,d16,R16,R16,U2,c3s1-12,U2,c9s1-3",  # fewer layers
    "c7s1-8,d12,d16,R16,R16,R16,R16,R16,U2,c3s1-12,U2,c9s1-3",  # another kernel
    "c9s1-8,d12,d16,R16d2,R16,R16,R16,R16,U2,c3s1-12,U2,c9s1-3",  # another dilation
    "E,c9s1-8,d12,d16,R16,R16,R16,R16,R16,U2,c3s1-12,U2,c9s1-3",  # other borders
])  # fmt: skip
def test_what_no_channels_can_be_shared_out_to_is_refused(arch):
    with pytest.raises(FavError, match="its layers with half of the channels"):
        net2wider(random_network(), arch, seed=0)
