"""The screen of `coordinator.py status --watch`: a bar for each kind of task, a line for each node."""

from collections.abc import Callable, Iterator

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Footer, Static

from fav.errors import sanitize
from fav.monitor import actions
from fav.monitor.snapshot import JobSnapshot, JobStatus, NodeSnapshot, Snapshot, SnapshotReader
from fav.monitor.text import count_words, pace_words
from fav.util.text import duration
from shared.errors import JobQueueError, UserError

COLUMNS = ("node", "host", "device", "state", "does", "frames", "a second", "heartbeat")
BAR = 40  # characters
COLORS = {JobStatus.FINISHED: "green", JobStatus.RUNNING: "blue", JobStatus.FAILED: "red"}


class StatusApp(App):
    """Shows the state of a share, and updates it until the user presses q."""

    CSS = """
    #jobs { height: 1fr; padding: 1 2; }
    #nodes { height: auto; max-height: 50%; }
    #message { height: auto; padding: 0 2; color: $text-muted; }
    """
    BINDINGS = [
        Binding("q", "quit", "leave"),
        Binding("p", "pause", "pause or resume"),
        Binding("r", "retry", "reopen failed tasks"),
        Binding("d", "drain", "drain the node under the cursor"),
    ]

    def __init__(self, reader: SnapshotReader, every: float):
        super().__init__()
        self.reader, self.every = reader, every
        self.now: Snapshot | None = None

    def compose(self) -> ComposeResult:
        yield VerticalScroll(Static(id="panel"), id="jobs")
        yield DataTable(id="nodes", cursor_type="row")
        yield Static(id="message")
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(DataTable).add_columns(*COLUMNS)
        self.poll()
        self.set_interval(self.every, self.poll)

    @work(thread=True, exclusive=True, group="poll")
    def poll(self) -> None:
        """Read and show a snapshot, in a thread: while the share does not answer, the keys still work."""
        try:
            now = self.reader.read()
        except (OSError, JobQueueError) as error:
            self.call_from_thread(self.say, f"the shared directory does not answer: {error}")
            return
        self.call_from_thread(self.show, now)

    def show(self, now: Snapshot) -> None:
        self.now = now
        self.query_one("#panel", Static).update(jobs_panel(now))
        table = self.query_one(DataTable)
        place = table.cursor_row
        table.clear()
        for node in now.nodes:
            table.add_row(*map(Text, format_row(node)), key=node.node)  # a str would be parsed as markup
        if table.row_count:
            table.move_cursor(row=min(place, table.row_count - 1))
        self.say("; ".join(now.complaints))

    def say(self, message: str) -> None:
        self.query_one("#message", Static).update(Text(message))

    def tell(self, line: str) -> None:
        """Show a line for some seconds."""
        self.notify(line, markup=False)

    def action_pause(self) -> None:
        self._do(lambda: actions.pause_or_resume(self.reader.share, self.reader.only))

    def action_retry(self) -> None:
        def retry() -> list[str]:
            count = actions.retry(self.reader.share, self.now, self.reader.only)
            return [f"{count} failed task{'s'[: count != 1]} reopened"]

        self._do(retry)

    def action_drain(self) -> None:
        table = self.query_one(DataTable)
        if table.row_count:
            node = str(table.get_row_at(table.cursor_row)[0])

            def drain() -> list[str]:
                actions.drain(self.reader.share, node)
                return [f"{node} finishes its task and leaves"]

            self._do(drain)

    @work(thread=True)
    def _do(self, what: Callable[[], list[str]]) -> None:
        """Run the action of a key in a thread, and show its result or its error."""
        try:
            lines = what()
        except (OSError, UserError) as error:
            lines = [sanitize(error, 500)]
        for line in lines:
            self.call_from_thread(self.tell, line)
        self.call_from_thread(self.poll)


def jobs_panel(now: Snapshot) -> RenderableType:
    """All jobs, running ones first."""
    jobs = sorted(now.jobs, key=lambda job: (job.state != JobStatus.RUNNING, job.state == JobStatus.FINISHED, job.name))
    return Group(*(part for job in jobs for part in (*_job(job), Text()))) if jobs else Text("no jobs")


def _job(job: JobSnapshot) -> Iterator[RenderableType]:
    chains, done = job.chains or (0, 0)
    state = job.state, COLORS.get(job.state, "yellow")
    yield Text.assemble((job.name, "bold"), "  ", state, f"  {done} of {chains} shots done" if chains else "")
    bars = Table.grid(padding=(0, 2))
    for kind, (made, total) in job.counts.items():
        if kind != "flow" or made:
            bar = ProgressBar(total or None, made if total else 0, BAR, pulse=False)
            pace = pace_words(job.rate, job.left) if kind in ("frame", "iteration") else ""
            bars.add_row(kind, bar, count_words(made, total), pace)
    yield bars
    for line in job.learning:
        yield Text(line)
    if job.troubles:
        yield Text("  ".join(f"{times} {why}" for why, times in sorted(job.troubles.items())), "yellow")
    if job.lacks:
        yield Text(job.lacks, "red")
    if job.failed:
        yield Text(f"failed: {', '.join(job.failed[:8])}{' …' if len(job.failed) > 8 else ''}", "red")


def format_row(node: NodeSnapshot) -> tuple[str, ...]:
    """A node's row of the table."""
    return (
        node.node,
        node.machine,
        node.about,
        node.state,
        ", ".join(node.tasks) or "–",
        str(node.frames),
        f"{node.rate:.2f}" if node.rate else "–",
        f"{duration(node.heard_s)} ago",
    )


def watch_lines(
    reader: SnapshotReader, every: float, say: Callable[[Snapshot], None], sleep: Callable[[float], None]
) -> Snapshot:
    """Read a snapshot and pass it to `say`, every `every` seconds, until all jobs are done. Returns the last one."""
    while True:
        now = reader.read()
        say(now)
        if all(job.state in (JobStatus.FINISHED, JobStatus.CANCELLED) for job in now.jobs):
            return now
        sleep(every)
