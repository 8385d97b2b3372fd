#!/usr/bin/env bash
# Makes or completes the virtual environment .venv in this checkout. You can run it again at any time.
#
#   bash install.sh          the libraries of the program, and the command .venv/bin/fav
#   bash install.sh --dev    also the libraries of its tests
#
# Without PYTHON, it uses the first suitable Python on PATH. To name another one: PYTHON=/path/to/python3.12 bash install.sh
# Everything is in .venv: 2 GB with PyTorch for processors, several more with that for CUDA. rm -rf .venv removes it.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"

usage() { sed -n '2,8s/^# \{0,1\}//p' install.sh; }
lock=requirements.lock extra=recommended
case "${1:-}" in
    "") ;;
    --dev) lock=requirements-dev.lock extra=dev ;;
    -h | --help) usage; exit 0 ;;
    *) echo "install.sh: expected --dev or nothing, got $1" >&2; usage >&2; exit 2 ;;
esac

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; }

python= found=
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if fits "$candidate"; then python=$candidate; break; fi
    release=$("$candidate" --version 2> /dev/null) && found="${found:+$found, }$release ($candidate)"
done
if [ -z "$python" ]; then
    echo "install.sh: expected Python 3.11 or newer, found ${found:-none};" \
         "on Debian and Ubuntu: sudo apt install python3 python3-venv, or name one: PYTHON=/path/to/python3.12 bash install.sh" >&2
    exit 1
fi
if ! "$python" -c 'import venv, ensurepip' 2> /dev/null; then
    echo "install.sh: expected the modules venv and ensurepip in $("$python" --version) ($python), found none;" \
         "on Debian and Ubuntu: sudo apt install $("$python" -c 'import sys; print("python3-venv or python3.%d-venv" % sys.version_info[1])')" >&2
    exit 1
fi

# Only one installation at a time: two nodes may be started at once on one fresh machine.
exec 9> .install.lock
command -v flock > /dev/null && flock 9

if ! fits .venv/bin/python; then
    echo "install.sh: making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi
install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile "$@"; }
# pip would compile one file after the other; all cores are faster. Files that do not compile with this Python are ignored.
compile() { .venv/bin/python -m compileall -qq -j 0 "$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" || true; }

# Prints what pyproject.toml requires, one per line: for the program, or for one of its extras.
ranges() {
    .venv/bin/python - "${1:-}" << 'END'
import re, sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
def of(extra):
    for line in project["optional-dependencies"][extra]:
        own = re.fullmatch(rf"{project['name']}\[(.*)\]", line)
        yield from (each for name in own[1].split(",") for each in of(name)) if own else [line]
print(*(of(sys.argv[1]) if sys.argv[1] else project["dependencies"]), sep="\n")
END
}

stamp=.venv/installed-$(cat pyproject.toml "$lock" requirements-torch.lock | sha256sum | cut -c1-16)
if [ -e "$stamp" ]; then
    echo "install.sh: .venv is complete"
else
    echo "install.sh: installing the versions of $lock (with PyTorch, .venv takes 2 GB, and several more for CUDA: this takes minutes)"
    if ! { install --require-hashes -r "$lock" && install -r requirements-torch.lock; }; then
        echo "install.sh: those exact versions could not be installed; trying the newest in the allowed ranges"
        ranges > .venv/ranges.txt
        if ! install -r .venv/ranges.txt; then
            echo "install.sh: expected packages from an index that pip reaches, ready-made for this Python and machine, got pip's" \
                 "errors above; check the network, or name an index (PIP_INDEX_URL) or a directory of wheels (PIP_FIND_LINKS)" >&2
            exit 1
        fi
        ranges "$extra" > .venv/ranges.txt
        if ! install -r .venv/ranges.txt; then
            if [ "$extra" = dev ]; then
                echo "install.sh: expected the packages of the tests, got pip's errors above; without --dev, the program works" >&2
                exit 1
            fi
            echo "install.sh: continuing without OpenVINO (PyTorch runs the network instead, which is slower on processors)" \
                 "and without the page of fav web" >&2
        fi
    fi
    opencv=$(.venv/bin/python -m pip list --disable-pip-version-check 2> /dev/null | grep -ci '^opencv' || true)
    if [ "$opencv" != 1 ]; then
        echo "install.sh: expected one OpenCV distribution in .venv, got $opencv: they overwrite each other; remove .venv and run this again" >&2
        exit 1
    fi
    compile
    touch "$stamp"
    echo "install.sh: done: $(.venv/bin/python -c 'import torch, cv2, av; print("PyTorch", torch.__version__, " OpenCV", cv2.__version__, " PyAV", av.__version__)')"
fi

# The command fav, which runs the sources in this checkout. (The Containerfile runs this script once before they are copied.)
program=.venv/program-$(cat pyproject.toml | sha256sum | cut -c1-16)
if [ -e fav/__init__.py ] && ! { [ -e "$program" ] && [ -x .venv/bin/fav ]; }; then
    new='import setuptools, sys; sys.exit(int(setuptools.__version__.split(".")[0]) < 77)'
    .venv/bin/python -c "$new" 2> /dev/null && isolation=--no-build-isolation || isolation=  # then pip downloads a newer setuptools
    if install --no-deps $isolation --editable .; then
        touch "$program"
    else
        echo "install.sh: the command fav could not be installed; use .venv/bin/python with node.py, coordinator.py or -m fav" >&2
    fi
fi
