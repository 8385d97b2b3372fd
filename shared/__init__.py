"""The job system over one shared directory: tasks, placeholders, heartbeats, recovery, publishing.

It knows nothing of video. From the bottom up:

    errors              the root of every error that a user reads, and those of the job system
    command_names       how the user types a command: `fav status` or `coordinator.py status`
    filesystem          the only module that touches the file system, the clock and the process table
    paths               where each file of the shared directory lies
    shared_dir          one opened directory; `marker` and `ownership` say what in it is ours
    identity            who a node is; `membership` and `heartbeat` make it known; `failure_detector` tells who is alive
    control             what the operator asks of a node
    results, claims     a finished task's file; the placeholder of a task in progress; `attempts` counts failed tries
    recovery            removes the placeholders of dead nodes
    jobs, protocols     a job and its state; what its tasks are
    worker              the loop that claims tasks and runs them; `node_health`, `notify`, `retry` and `job_state` serve it
    task_monitor        what a worker is doing, for its supervisor
    supervisor          the process that keeps the heartbeat going and restarts the worker
    logs, log_stream    the form of log lines; the stream that they are written to
    source_hash         which version of the program this is
    fscheck/            checks whether a mounted directory keeps the rules that all this relies on
"""
