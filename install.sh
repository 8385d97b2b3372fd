#!/usr/bin/env bash
# Makes or completes the virtual environment .venv in this checkout. Run it as often as you like.
#
#   bash install.sh          what the program needs
#   bash install.sh --dev    and what its tests need
#
# PYTHON=/path/to/python3.12 bash install.sh takes another interpreter than the first fitting one on PATH.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"

wanted=requirements.txt
case "${1:-}" in
    "") ;;
    --dev) wanted=requirements-dev.txt ;;
    *) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

fits() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; }

python=
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
    if fits "$candidate"; then python=$candidate; break; fi
done
if [ -z "$python" ]; then
    echo "install.sh: expected Python 3.11 or newer, found $(python3 --version 2> /dev/null || echo none);" \
         "on Debian and Ubuntu: sudo apt install python3 python3-venv, or name one with PYTHON=..." >&2
    exit 1
fi
if ! "$python" -c 'import venv, ensurepip' 2> /dev/null; then
    echo "install.sh: $python has no venv module; on Debian and Ubuntu: sudo apt install python3-venv" >&2
    exit 1
fi

# One at a time: two nodes may be started on one fresh machine at once.
exec 9> .install.lock
command -v flock > /dev/null && flock 9

if ! fits .venv/bin/python; then
    echo "install.sh: making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv
fi
stamp=.venv/installed-$(cat requirements.txt "$wanted" requirements.lock | sha256sum | cut -c1-16)
if [ -e "$stamp" ]; then
    echo "install.sh: .venv is complete"
    exit 0
fi
echo "install.sh: installing $wanted with the versions of requirements.lock (PyTorch is large: this takes minutes)"
install() { .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"; }
if ! install -r "$wanted" -c requirements.lock; then
    echo "install.sh: those exact versions do not fit this Python or machine; taking the newest in the allowed ranges"
    install -r "$wanted"
fi
opencv=$(.venv/bin/python -m pip list --disable-pip-version-check 2> /dev/null | grep -ci '^opencv' || true)
if [ "$opencv" != 1 ]; then
    echo "install.sh: expected one OpenCV distribution in .venv, got $opencv: they overwrite each other; remove .venv and run this again" >&2
    exit 1
fi
touch "$stamp"
echo "install.sh: done: $(.venv/bin/python -c 'import torch, cv2, av; print("PyTorch", torch.__version__, " OpenCV", cv2.__version__, " PyAV", av.__version__)')"
