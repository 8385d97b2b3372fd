"""Start nodes of one job on a host through ssh, and query their state.

Each node has a log and a state file with its process in the share's `logs`. So a repeated command finds the nodes
that run, and users can read why one ended.
"""

import re
from dataclasses import dataclass

from fav.launch import ssh
from fav.launch.errors import LaunchError
from fav.launch.hosts_file import Host
from shared.errors import sanitize
from shared.logs import LOG_HEAD

EXIT_REFUSED = 64  # of a script that started nothing; its last line has the reason

START_TIME_SH = r"""
start_time() { sed 's/.*) //' "/proc/$1/stat" 2> /dev/null | cut -d ' ' -f 20; }
"""

# Runs one node, outlives the connection, and records the node's process and its own, later the exit code, in the state
# file. $1 is the state file, the rest is the command. A process is identified by its pid and start time.
WATCHER_SH = (
    START_TIME_SH
    + r"""
state=$1; shift
"$@" < /dev/null &
node=$!
set -C  # never overwrite a file
printf '%s\n' "$node $(start_time "$node")" "$$ $(start_time "$$")" > "$state" || { kill "$node"; exit 1; }
wait "$node"
code=$?
asked=; [ "$code" = 130 ] && asked=", as it was asked to"
echo "$(date +%H:%M:%S) ended with exit code $code$asked"
echo "ended $code" > "$state.$node" && mv -f -- "$state.$node" "$state"
"""
)

# `is_running` is whether the process with this pid and start time exists. `is_at_work` is whether the node of a state, or
# its watcher, does: between the end of the node and the record of it, only the watcher knows how it ended.
IS_RUNNING_SH = (
    START_TIME_SH
    + r"""
is_running() { kill -0 "$1" 2> /dev/null && { [ -z "${2:-}" ] || [ "$(start_time "$1")" = "$2" ]; }; }
read_state() { head -c 200 "$1" 2> /dev/null | tr -d '\0' | head -n 2; }
is_at_work() (
    node=${1%%
*}
    watcher=${1#"$node"}
    is_running $node || case $watcher in *[0-9]*) is_running $watcher ;; *) false ;; esac
)
"""
)

# Only a regular file of ours is used as the log: a FIFO would block. The opened file is checked again through its
# descriptor before anything is written, because a shell follows links. `first` reads one line of at most 200 bytes.
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
    [0-9]*) is_at_work "$(read_state "$state")" && exit 0 ;;  # another operator was faster, or the node ends just now
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
$detach nohup sh -c "$watcher" watcher "$state" "$@" < /dev/null >&3 2>&1 3>&- &
for wait in 1 2 3 4 5 6 7 8 9 10; do [ -s "$state" ] && exit 0; sleep 0.2; done
echo "$log: the node did not start there" >&2
exit 64
"""
)

QUERY_SH = (
    IS_RUNNING_SH
    + r"""
set -f
for name in "$@"; do
    state=$logs/$name.state
    told=none
    for look in 1 2; do  # the end may be recorded after the first look
        found=
        [ -f "$state" ] && [ ! -L "$state" ] && found=$(read_state "$state")
        case $found in
            '') break ;;
            ended*) told=$(printf '%s' "$found" | head -n 1); break ;;
        esac
        if is_at_work "$found"; then
            told="runs ${found%%[!0-9]*}"
            break
        fi
        told=died
    done
    echo "state $name $told"
done
"""
)

ANSWER = re.compile(r"state (\S+) (none|died|runs [0-9]+|ended [0-9]+)")


class LaunchRefusedError(LaunchError):
    """The host answers, but a node cannot be started there."""


@dataclass(frozen=True)
class ProcessState:
    """The state of a node's process: `none` (not started), `runs` (with its pid), `ended` (with its exit code), `died`."""

    how: str
    number: int | None = None


def process_name(job: str, host: Host, number: int) -> str:
    """The name of a node's process, of safe characters only."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', job)}.{host.label}.{number}"


def query(host: Host, logs: str, names: list[str]) -> dict[str, ProcessState]:
    """Query the states of nodes' processes, by name. Raises UnreachableError if the host does not answer."""
    done = ssh.run(host, f"logs={ssh.quoted(logs)}\nset -- {ssh.quoted(*names)}\n{QUERY_SH}")
    found = {}
    for line in done.stdout.splitlines():
        if answer := ANSWER.fullmatch(line):
            how, _, number = answer[2].partition(" ")
            found[answer[1]] = ProcessState(how, int(number) if number else None)
    if missing := set(names) - set(found):
        raise ssh.UnreachableError(f"expected the states of all nodes, got none of {', '.join(sorted(missing))}")
    return found


def start(host: Host, path: str, logs: str, name: str, command: list[str]) -> None:
    """Start a node on a host, detached from this connection, unless it runs already.

    Raises:
        LaunchRefusedError: the node did not start; the message has the reason.
        UnreachableError: the host does not answer.
    """
    values = {"path": path, "logs": logs, "name": name, "watcher": WATCHER_SH, "head": LOG_HEAD}
    given = [f"{key}={ssh.quoted(value)}" for key, value in values.items()]
    done = ssh.run(host, "\n".join((*given, f"set -- {ssh.quoted(*command)}", START_SH)))
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise LaunchRefusedError(sanitize(lines[-1] if lines else f"exit code {done.returncode}", 300))
