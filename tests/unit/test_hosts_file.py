"""The hosts file: what a line may say, and what is refused with its number."""

import pytest

from fav.launch.errors import LaunchError
from fav.launch.hosts_file import Host, read_hosts
from fav.launch.remote_process import process_name


def test_a_line_may_be_an_alias_or_say_everything():
    text = """
    # the laboratory
    render
    anna@lab1.example.org port=2222 nodes=2 python=/opt/py/bin/python path="/opt/artistic videos" share=/mnt/film   # by the window
    """
    assert read_hosts(text, "hosts.txt") == [
        Host("render"),
        Host(
            "anna@lab1.example.org", 2222, ("auto", "auto"), "/opt/py/bin/python", "/opt/artistic videos", "/mnt/film"
        ),
    ]


@pytest.mark.parametrize("words, devices", [
    ("", ("auto",)), ("nodes=3", ("auto",) * 3), ("gpus=2", ("cuda:0", "cuda:1")), ("gpus=2 nodes=3", ("cuda:0", "cuda:1", "cuda:0")),
    ("gpus=2 nodes=1", ("cuda:0",)), ("devices=cuda:1,cpu", ("cuda:1", "cpu")),
])  # fmt: skip
def test_nodes_take_the_devices_in_turn(words, devices):
    assert read_hosts(f"render {words}", "hosts.txt")[0].devices == devices


@pytest.mark.parametrize("line, word", [
    ("-oProxyCommand=touch_x", "alias"), ("--", "alias"), ("$(touch x)", "alias"), ("`touch x`", "alias"), ("a;b", "alias"), ("a@-b", "alias"),
    ("-a@b", "alias"), ("'a b'", "alias"), ("a\tport=2 port=3", "once"), ("a port=0", "65535"), ("a port=70000", "65535"), ("a port=x", "65535"),
    ("a port=²", "65535"), ("a nodes=0", "1000"), ("a nodes=9999999999999", "1000"), ("a gpus=1 devices=cpu", "both"), ("a devices=gpu", "cuda:0"),
    ("a python=python3", "absolute"), ("a share=film", "absolute"), ("a path=-rf", "absolute"), ("a path=", "value"), ("a user=x", "python="),
    ("a b", "python="), ("a 'path=/x", "quotation"), ("a path='/x\x1b[31m'", "absolute"), ("a@b@c", "alias"),
])  # fmt: skip
def test_what_is_no_host_is_refused_with_the_number_of_its_line(line, word):
    with pytest.raises(LaunchError, match=r"hosts.txt, line 3: expected ") as error:
        read_hosts(f"render\n\n{line}\n", "hosts.txt")
    assert word in str(error.value) and "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_one_machine_twice_is_refused_since_its_logs_would_mix():
    with pytest.raises(LaunchError, match="line 2.*nodes=N"):
        read_hosts("render\nanna@render\n", "hosts.txt")
    assert len(read_hosts("render port=1\nrender port=2\n", "hosts.txt")) == 2


def test_names_of_posts_are_tame():
    assert process_name("clip--tiny", Host("anna@lab.example.org", 22), 0) == "clip--tiny.lab.example.org_22.0"
    assert set(process_name("$(touch x) '\n-", Host("a"), 1)) <= set("abcdefghijklmnopqrstuvwxyz_.1-")
