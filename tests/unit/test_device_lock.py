"""Which card a process takes. There is none here, so what PyTorch says of cards is invented; the processes and their locks are real.

The processes do without PyTorch itself, whose import takes longer than all else.
"""

import subprocess
import sys
import tempfile
from uuid import uuid4

import pytest

from tests.helpers.checkout import ROOT

PROGRAM = """
import sys, types
torch = sys.modules["torch"] = types.ModuleType("torch")
torch.cuda = types.SimpleNamespace()
names = sys.argv[1].split()
torch.cuda.is_available = lambda: bool(names)
torch.cuda.device_count = lambda: len(names)
torch.cuda.get_device_properties = lambda number: types.SimpleNamespace(uuid=names[number])
torch.cuda.get_device_name = lambda device: f"Card {names[int(device.partition(':')[2])]}"
from fav.pipeline.device_lock import acquire_device, device_words
print(acquire_device(*sys.argv[2:]), flush=True)
print(acquire_device(*sys.argv[2:]), flush=True)
print(device_words(acquire_device(*sys.argv[2:])), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def process(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    started = []

    def start(cards: list[str], *words: str) -> tuple[subprocess.Popen, str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, " ".join(cards), *words],
                cwd=ROOT,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        )
        first, again = started[-1].stdout.readline().strip(), started[-1].stdout.readline().strip()
        assert first == again
        return started[-1], first

    yield start
    for one in started:
        one.kill()
        one.communicate()


@pytest.mark.slow
def test_log_says_which_card_auto_is(process):
    card = str(uuid4())
    holder, _ = process([card], "auto")
    assert holder.stdout.readline() == f"cuda:0, Card {card}\n"
    assert process([card], "auto")[0].stdout.readline() == "cpu, because no GPU is free, or the backend uses none\n"
    assert process([], "auto")[0].stdout.readline() == "\n"


def test_nodes_of_one_machine_take_a_card_each_and_then_the_processor(process):
    cards = [str(uuid4()) for _ in range(2)]
    first, device = process(cards, "auto")
    assert device == "cuda:0"
    assert process(cards, "auto")[1] == "cuda:1" and process(cards, "auto")[1] == "cpu"
    first.kill()
    first.wait()
    assert process(cards, "auto")[1] == "cuda:0"


@pytest.mark.slow
def test_a_card_is_the_same_whatever_its_number(process):
    card, other = str(uuid4()), str(uuid4())
    assert process([card], "auto")[1] == "cuda:0"
    assert process([other, card], "auto")[1] == "cuda:0" and process([card], "auto")[1] == "cpu"


@pytest.mark.slow
def test_who_names_a_device_gets_it_and_openvino_needs_no_card(process):
    cards = [str(uuid4())]
    assert process(cards, "cuda:0")[1] == "cuda:0" and process(cards, "cpu")[1] == "cpu"
    assert process(cards, "auto", "openvino")[1] == "cpu" and process([], "auto")[1] == "cpu"
    assert process(cards, "auto")[1] == "cuda:0"
