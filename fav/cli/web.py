"""`fav web`: serve the page that does in a browser what the commands do in a terminal."""

import socket
from pathlib import Path

import click

from fav.cli.common import one_line_errors
from fav.cli.options import FILE
from fav.errors import FavError
from fav.pipeline.job_files import open_share
from shared.errors import JobQueueError
from shared.option_types import WholeType

PORT = 8765
PORTS_TO_TRY = 20  # if no --port was given
LOCAL = ("127.0.0.1", "localhost", "::1")
UNENCRYPTED_WARNING = (
    "anybody in this network can read the connection, and the token with it; for TLS put a proxy in front, or leave --host "
    "out and use: ssh -L {port}:127.0.0.1:{port} {name}"
)


@click.command()
@click.argument("shared", type=FILE)
@click.option(
    "--port",
    type=WholeType(1, 65535),
    help=f"The port to listen on.  [default: {PORT}, or the next one that is free]",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="The address to listen on; 0.0.0.0 is all of them."
)
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="HOST",
    help="Another name by which browsers reach this machine; may be repeated.",
)
@click.option(
    "--loss-network",
    metavar="NAME|FILE",
    help="The loss network of trainings (`fav train --help`). Without internet access, give a file.",
)
@one_line_errors
def web(shared: Path, port: int | None, host: str, names: tuple[str, ...], loss_network: str | None) -> None:
    """Serve a page with films, machines and styles.

    The command prints a link with a token. Anybody with this link can do everything in SHARED that the commands can do. The
    page shows the progress of films, makes new ones, and plays them. All state is in the shared directory, so you can stop the
    command at any time. It needs the extra `web`.
    """
    try:
        import uvicorn

        from fav.web.app import Web
        from fav.web.security import Access, names_of
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "anyio"):
            raise
        raise FavError(
            f"fav web: expected the libraries of the page, got no {error.name}; install them: "
            f"pip install 'fast-artistic-videos[web]', or pip install starlette uvicorn"
        ) from None
    try:
        share = open_share(shared)
        if share.creation_notice:
            click.echo(share.creation_notice)
    except JobQueueError as error:
        try:
            open_share(shared, read_only=True)
        except JobQueueError:
            raise error from None
        click.echo(f"{error}; continuing read-only")
    listening = _listening(host, port)
    port = listening.getsockname()[1]
    local = host in LOCAL
    access = Access(hosts=names_of(host) | {name.lower() for name in names}, any_address=not local)
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    click.echo(f"open http://{shown}:{port}/?token={access.token}")
    if not local:
        click.echo(UNENCRYPTED_WARNING.format(port=port, name=socket.gethostname()))
    click.echo("Ctrl-C ends it; films continue without it")
    page = Web(shared, access, train_words=("--loss-network", loss_network) if loss_network else ())

    class Server(uvicorn.Server):
        def handle_exit(self, sig, frame) -> None:
            page.live.close()  # ends the event streams of all browsers; uvicorn would wait for them
            super().handle_exit(sig, frame)

    settings = uvicorn.Config(
        page.app, log_level="critical", access_log=False, server_header=False, ws="none",
        timeout_graceful_shutdown=2, timeout_keep_alive=30,
    )  # fmt: skip
    with listening:
        Server(settings).run(sockets=[listening])


def _listening(host: str, port: int | None) -> socket.socket:
    """Open a listening socket. Raises FavError if that fails."""
    wanted = [port] if port else range(PORT, PORT + PORTS_TO_TRY)
    problem = "no port is free"
    for each in wanted:
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(host, each, type=socket.SOCK_STREAM)[0]
            opened = socket.socket(family, kind, protocol)
        except OSError as error:
            raise FavError(f"--host {host}: expected an address of this machine ({error.strerror})") from None
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
            opened.listen(128)
            return opened
        except OSError as error:
            opened.close()
            problem = error.strerror or str(error)
    raise FavError(f"--port {port or PORT}: expected one that is free on {host}, got: {problem}; choose another --port")
