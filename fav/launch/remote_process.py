"""Posts: the places on a host where a node of one job stands, and what is known of whom stands there.

Each has a log and a file with its node's process in the share's `logs`, so that whoever types the line again finds the
nodes that run, and anybody reads why one ended.
"""

import re
from dataclasses import dataclass

from fav.launch import ssh
from fav.launch.errors import LaunchError
from fav.launch.hosts_file import Host
from shared.errors import sanitize
from shared.logs import LOG_HEAD

EXIT_REFUSED = 64  # of a script that started nothing; its last line says why

# The keeper of one node: outlives the connection, and writes down which process the node is and with which code it ended.
# $1 its state, the rest is the command. A process is known by its pid and the time of its start.
WATCHER_SH = r"""
state=$1; shift
"$@" < /dev/null &
node=$!
set -C  # never onto what somebody has put there
echo "$node $(sed 's/.*) //' "/proc/$node/stat" 2> /dev/null | cut -d ' ' -f 20)" > "$state" || { kill "$node"; exit 1; }
wait "$node"
code=$?
echo "$(date +%H:%M:%S) ended with exit code $code"
echo "ended $code" > "$state.$node" && mv -f -- "$state.$node" "$state"
"""

# Whether the process with this pid and time of start is there.
IS_RUNNING_SH = r"""
begun() { sed 's/.*) //' "/proc/$1/stat" 2> /dev/null | cut -d ' ' -f 20; }
stands() { kill -0 "$1" 2> /dev/null && { [ -z "${2:-}" ] || [ "$(begun "$1")" = "$2" ]; }; }
"""

# A log that is no file of ours to write to is left alone: a FIFO would hang. What was opened is looked at once more by its
# descriptor, since a shell follows links; nothing is written before. `first` reads one line, however long that is.
START_SH = (
    IS_RUNNING_SH
    + r"""
set -uf
first() { head -c 200 "$1" 2> /dev/null | tr -d '\0' | head -n 1; }
cd -- "$path" 2> /dev/null || { echo "$path: expected the checkout there, found none; path= says where it is" >&2; exit 64; }
log=$logs/$name.log state=$logs/$name.state
for file in "$log" "$state"; do
    if [ -L "$file" ] || { [ -e "$file" ] && [ ! -f "$file" ]; }; then
        echo "$file: expected a file, got something else; remove it" >&2
        exit 64
    fi
done
said=$(first "$state")
[ -z "$said" ] && [ -s "$state" ] && said=other
case $said in
    '' | 'ended '[0-9]*) ;;
    [0-9]*) stands $said && exit 0 ;;  # another operator was faster
    *) echo "$state: expected a file of this program, got another one; remove it" >&2; exit 64 ;;
esac
[ -e "$log" ] || ( set -C; echo "$head" > "$log" ) 2> /dev/null || { echo "$log: cannot be written to there" >&2; exit 64; }
command exec 3>> "$log" || { echo "$log: cannot be written to there" >&2; exit 64; }
if [ -L "$log" ] || [ ! -f "$log" ] || [ ! "$log" -ef /proc/self/fd/3 ] || [ "$(first "$log")" != "$head" ]; then
    echo "$log: expected a log of this program, got another file; remove it" >&2
    exit 64
fi
rm -f -- "$state"
detach=$(command -v setsid || true)
$detach nohup sh -c "$keeper" keeper "$state" "$@" < /dev/null >&3 2>&1 3>&- &
for wait in 1 2 3 4 5 6 7 8 9 10; do [ -s "$state" ] && exit 0; sleep 0.2; done
echo "$log: the node did not come up there" >&2
exit 64
"""
)

QUERY_SH = (
    IS_RUNNING_SH
    + r"""
set -f
for name in "$@"; do
    state=$logs/$name.state
    said=
    [ -f "$state" ] && [ ! -L "$state" ] && said=$(head -c 200 "$state" | tr -d '\0' | head -n 1)
    set -- $said
    if [ "${1:-none}" != ended ] && [ -n "${1:-}" ]; then
        if stands "$1" "${2:-}"; then
            said="runs $1"
        else
            said=died
        fi
    fi
    echo "post $name ${said:-none}"
done
"""
)

ANSWER = re.compile(r"post (\S+) (none|died|runs [0-9]+|ended [0-9]+)")


class LaunchRefusedError(LaunchError):
    """The host answers, and a node cannot be started there."""


@dataclass(frozen=True)
class ProcessState:
    """What is known of a post: `none` was started yet, one `runs` (with its process id), has `ended` (with its exit code),
    or `died` without a word."""

    how: str
    number: int | None = None


def process_name(job: str, host: Host, number: int) -> str:
    """The name of a post, which is tame wherever it came from."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', job)}.{host.label}.{number}"


def query(host: Host, logs: str, posts: list[str]) -> dict[str, ProcessState]:
    """What stands where; UnreachableError where the host does not tell."""
    done = ssh.run(host, f"logs={ssh.quoted(logs)}\nset -- {ssh.quoted(*posts)}\n{QUERY_SH}")
    found = {}
    for line in done.stdout.splitlines():
        if answer := ANSWER.fullmatch(line):
            how, _, number = answer[2].partition(" ")
            found[answer[1]] = ProcessState(how, int(number) if number else None)
    if missing := set(posts) - set(found):
        raise ssh.UnreachableError(f"it did not say what became of {', '.join(sorted(missing))}")
    return found


def start(host: Host, path: str, logs: str, name: str, command: list[str]) -> None:
    """Start a node there, detached from this connection, unless one runs. Refused, with the reason, where none came up."""
    values = {"path": path, "logs": logs, "name": name, "keeper": WATCHER_SH, "head": LOG_HEAD}
    given = [f"{key}={ssh.quoted(value)}" for key, value in values.items()]
    done = ssh.run(host, "\n".join((*given, f"set -- {ssh.quoted(*command)}", START_SH)))
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise LaunchRefusedError(sanitize(lines[-1] if lines else f"exit code {done.returncode}", 300))
