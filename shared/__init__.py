"""The job system over one shared directory: tasks, placeholders, heartbeats, recovery, publishing.

It knows nothing of video. From the bottom up:

    startup             the imports of a command: Python, libraries, Ctrl-C
    errors              the root of every error that a user reads, and those of the job system
    command_names       how the user types a command: `fav status` or `coordinator.py status`
    option_types        types of options on command lines, and their error messages
    filesystem          the only module that touches the file system, the clock and the process table
    paths               where each file of the shared directory lies
    settings            times that are the same for all nodes of a shared directory
    shared_dir          one opened directory; `marker` and `ownership` say which files are this program's
    local, mount        directories of this user on this machine; how a directory is mounted
    identity            who a node is; `membership` and `heartbeat` publish it; `failure_detector` finds dead nodes
    control             requests of the operator to a node
    results, claims     the file of a finished task; the placeholder of a task in progress; `attempts` counts failed tries
    recovery            removes the placeholders of dead nodes
    jobs, protocols     a job and its state; what a plan of its tasks must offer
    worker              the loop that claims tasks and runs them; `worker_context`, `job_state` and `scheduling` are its parts
    node_health         a node's record of its own failures; `self_test` asks whether the node or the task is at fault
    retry, notify       wait after temporary errors; tell other nodes what is new
    task_monitor        the progress of a worker, for its supervisor
    supervisor          the process that renews the heartbeat and restarts the worker
    logs, log_stream    the form of log lines; the stream that they are written to; `terminal` has the standard streams
    source_hash         which version of the program this is
    fscheck/            checks whether a mounted directory has the properties that claims and results need
"""
