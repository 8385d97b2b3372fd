"""The addresses of the page, and the handler of each.

A handler reads a request, calls the same function as a command, and renders the result. It decides nothing about jobs.
"""

import asyncio
import logging
import os
import shlex
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from fav import __version__
from fav.errors import FavError, sanitize
from fav.monitor.snapshot import ALIVE
from fav.pipeline import job_control
from fav.pipeline.job_control import resolve_job
from fav.pipeline.job_files import open_share
from fav.pipeline.provenance import lines_of
from fav.pipeline.spec import JobSpec
from fav.stylize.settings import PROJECTIONS
from fav.util.safe_path import resolve_inside
from fav.web import forms, pictures, places, request_fields, uploads
from fav.web.learning import NAME as LEARNING
from fav.web.learning import Learning, TrainingForm
from fav.web.live import EVERY_S, Live
from fav.web.media import NO_OPENER, Cache, file_response
from fav.web.security import Access, Guard
from fav.web.uploads import OffsetError, Upload
from fav.web.views import cards
from fav.web.worker import Worker
from shared.control import ControlCommand
from shared.errors import UserError
from shared.jobs import Job
from shared.shared_dir import SharedDir

logger = logging.getLogger(__name__)

HERE = Path(__file__).parent
FIRST_SNAPSHOT_S = 0.6  # how long the first page waits for a snapshot; if the share is slower, it shows none
LOG_TAIL = 64 << 10  # bytes of a log that are shown
MOST_LOGS = 200
NODE_COMMANDS = {"drain": ControlCommand.DRAIN, "stop": ControlCommand.STOP}
Handler = Callable[[Request], Awaitable[Response]]


class Web:
    """The page of one shared directory.

    Args:
        root: The shared directory.
        access: Who may send requests.
        every_s: Seconds between two snapshots of the share.
        train_words: Further arguments of each `fav train` that the page starts.
    """

    def __init__(self, root: Path, access: Access, every_s: float = EVERY_S, train_words: tuple[str, ...] = ()):
        self.root, self.access = Path(os.path.abspath(root)), access
        self.live = Live(open_share(self.root, read_only=True), cards, every_s)
        self.small, self.large = Worker("pictures", 60), Worker("painting")
        self.prepared = False  # whether `large` was told to get ready
        self.cache = Cache()
        self.learning = Learning(self.root, train_words)
        self.templates = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
        )
        self.app = self._app()

    def _app(self) -> ASGIApp:
        @asynccontextmanager
        async def lifespan(_: Starlette):
            self.live.start()
            try:
                yield
            finally:
                self.close()

        get, post, put, delete = (_methods(name) for name in ("GET", "POST", "PUT", "DELETE"))
        routes = [
            get("/", self.now),
            get("/new", self.new),
            get("/films/{name}", self.film),
            get("/machines", self.machines),
            get("/machines/logs/{name}", self.log),
            get("/styles", self.styles),
            post("/styles/learn", self.learn),
            post("/styles/learn/{name}/{action}", self.learn_action),
            get("/styles/learn/{name}/{which}.png", self.learn_picture),
            get("/api/learning", self.learn_state),
            get("/events", self.events),
            get("/jobs/{name}/frame.jpg", self.job_picture),
            get("/jobs/{name}/film", self.job_film),
            get("/jobs/{name}/source", self.job_source),
            get("/jobs/{name}/report", self.job_report),
            post("/jobs", self.submit),
            post("/jobs/{name}/{action}", self.job_action),
            post("/nodes/{name}/{action}", self.node_action),
            get("/api/videos", self.videos),
            get("/api/video", self.video),
            get("/api/moment.jpg", self.moment),
            get("/api/picture.jpg", self.picture),
            get("/api/picture.json", self.picture_facts),
            get("/api/trial.jpg", self.trial),
            get("/api/style.jpg", self.style_preview),
            post("/api/estimate", self.estimate),
            post("/uploads", self.upload_begin),
            put("/uploads", self.upload_piece),
            delete("/uploads", self.upload_discard),
            Mount("/static", StaticFiles(directory=HERE / "static")),
        ]
        handlers: dict[Any, Any] = {
            UserError: self.user_error, OSError: self.share_error, HTTPException: self.http_error, Exception: self.crashed,
        }  # fmt: skip
        app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)
        return Guard(app, self.access)

    def close(self) -> None:
        self.live.close()
        self.learning.close()
        self.small.close()
        self.large.close()

    # ---- pages
    async def now(self, request: Request) -> Response:
        """The jobs and their progress."""
        known = await run_in_threadpool(self.live.cards, FIRST_SNAPSHOT_S)
        jobs = sorted(
            (card for card in known.values() if card["kind"] == "job"),
            key=lambda card: (card["order"], -card["priority"], card["name"]),
        )
        return self._page("now.html", request, jobs=jobs, now=known.get("now"), read=self.live.looks > 0)

    async def new(self, request: Request) -> Response:
        """The form of a new film. `again` in the query names a job whose settings fill it in."""
        filled, problem = {}, ""
        if again := request.query_params.get("again"):
            try:
                filled = await run_in_threadpool(lambda: forms.filled_from(resolve_job(self._share(), again)))
            except UserError as error:
                problem = str(error)
        return self._page("new.html", request, groups=forms.groups(), filled=filled, again=again or "", problem=problem)

    async def film(self, request: Request) -> Response:
        """One film, and how it was made."""
        name = request.path_params["name"]
        known = await run_in_threadpool(self.live.cards, FIRST_SNAPSHOT_S)
        job, spec = await run_in_threadpool(self._job_and_spec, name)
        known_card = known.get(f"job:{name}")
        origin = lines_of(spec.provenance or {})
        line = origin.pop("made by", "")
        return self._page(
            "film.html", request, job=known_card or _card_without_state(name), job_id=job.manifest.id, spec=spec, origin=origin,
            line=line, film=Path(spec.out).name, start=spec.start,
            files=await run_in_threadpool(self._beside, job, spec),
            now=known.get("now"),
        )  # fmt: skip

    async def machines(self, request: Request) -> Response:
        """The nodes and their logs."""
        known = await run_in_threadpool(self.live.cards, FIRST_SNAPSHOT_S)
        nodes = [card for card in known.values() if card["kind"] == "node"]
        logs = await run_in_threadpool(self._logs)
        return self._page(
            "machines.html",
            request,
            nodes=nodes,
            logs=logs[:MOST_LOGS],
            now=known.get("now"),
            shell=shlex.quote(str(self.root)),
        )

    async def log(self, request: Request) -> Response:
        """The last lines of a log."""
        name = request.path_params["name"]
        if name not in await run_in_threadpool(self._logs):
            raise HTTPException(404, "there is no log of that name")
        text = await run_in_threadpool(self._log_tail, name)
        return self._page("log.html", request, name=name, lines=text.splitlines())

    async def styles(self, request: Request) -> Response:
        """All styles of this machine and of the share."""
        found = await run_in_threadpool(lambda: list(places.styles(self.root)))
        return self._page("styles.html", request, styles=found)

    # ---- trainings
    async def learn(self, request: Request) -> Response:
        """Start a training, as the command `train` does."""
        fields = await request_fields.json_fields(request)
        line = await run_in_threadpool(lambda: self.learning.begin(TrainingForm.of(fields)))
        return JSONResponse({"line": line})

    async def learn_action(self, request: Request) -> Response:
        """Stop or continue a training."""
        name, action = request.path_params["name"], request.path_params["action"]
        fields = await request_fields.json_fields(request)
        if action == "stop":
            said = await run_in_threadpool(self.learning.stop, name)
        elif action == "continue":
            said = await run_in_threadpool(lambda: self.learning.resume(name, fields.get("minutes", 0)))
        else:
            raise HTTPException(404, "there is no such action")
        return JSONResponse({"said": [said]})

    async def learn_picture(self, request: Request) -> Response:
        """The contact sheet of a training, or the plot of its losses."""
        name, which = request.path_params["name"], request.path_params["which"]
        path = await run_in_threadpool(self.learning.picture, name, which)
        return await run_in_threadpool(file_response, request, self.root, path)

    async def learn_state(self, request: Request) -> Response:
        """All trainings and their progress."""
        return JSONResponse({"trainings": await run_in_threadpool(self.learning.all)})

    def _page(self, template: str, request: Request, **values: Any) -> Response:
        html = self.templates.get_template(template).render(
            csrf=self.access.csrf, path=request.url.path, share=self.root.name or "/", version=__version__,
            trouble=self.live.trouble, **values,
        )  # fmt: skip
        return HTMLResponse(html)

    # ---- changes
    async def events(self, request: Request) -> Response:
        """The stream of changes, as server-sent events."""
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(self.live.events(), media_type="text/event-stream", headers=headers)

    # ---- actions
    async def submit(self, request: Request) -> Response:
        """Create a job, as the command `submit` does."""
        wanted = await run_in_threadpool(forms.request_from, self.root, await request_fields.json_fields(request))
        made = await self._wait(request, self.large.submit(pictures.submit, self.root, wanted))
        self.live.look_now()
        return JSONResponse(made)

    async def job_action(self, request: Request) -> Response:
        """Do one of ACTIONS to a job."""
        name, action = request.path_params["name"], request.path_params["action"]
        fields = await request_fields.json_fields(request)
        if action not in ACTIONS:
            raise HTTPException(404, "there is no such action")
        said = await run_in_threadpool(lambda: ACTIONS[action](open_share(self.root, new=False), name, fields))
        self.live.look_now()
        return JSONResponse({"said": [said] if isinstance(said, str) else said})

    async def node_action(self, request: Request) -> Response:
        """Ask a node to leave."""
        name, action = request.path_params["name"], request.path_params["action"]
        if action not in NODE_COMMANDS:
            raise HTTPException(404, "there is no such action")
        asked = await run_in_threadpool(
            lambda: job_control.ask_nodes(open_share(self.root, new=False), name, NODE_COMMANDS[action])
        )
        self.live.look_now()
        return JSONResponse({"said": [f"{one} was asked to leave" for one in asked]})

    # ---- one job
    async def job_picture(self, request: Request) -> Response:
        """A frame of the film (`side=after`) or of its video (`side=before`)."""
        name, number = request.path_params["name"], request_fields.whole_number(request, "n", 0, 10**12)
        after, width = request.query_params.get("side") != "before", request_fields.width(request)
        job = await run_in_threadpool(resolve_job, self._share(), name)
        key = ("frame", job.manifest.id, number, after, width)
        call = lambda: self.small.submit(pictures.job_picture, self.root, name, job.manifest.id, number, after, width)
        return await self._picture(request, key, call)

    async def job_film(self, request: Request) -> Response:
        """The film, for the player or as a download; with `file`, one of the reports beside it."""
        job, spec = await run_in_threadpool(self._job_and_spec, request.path_params["name"])
        wanted = request.query_params.get("file")
        if wanted is not None:
            found = next(
                (path for path in await run_in_threadpool(self._beside, job, spec) if path.name == wanted), None
            )
            if found is None:
                raise HTTPException(404, "there is no such file beside the film")
            return await run_in_threadpool(file_response, request, self.root, found, True)
        film = await run_in_threadpool(_film_of, job, spec)
        return await run_in_threadpool(file_response, request, self.root, film, "download" in request.query_params)

    async def job_source(self, request: Request) -> Response:
        """The video of a job."""
        job, spec = await run_in_threadpool(self._job_and_spec, request.path_params["name"])
        source = resolve_inside(self.root, spec.video)
        if places.kind_of(source.name) != "video":
            raise HTTPException(404, "expected a video in one file, but the source is a sequence of images")
        return await run_in_threadpool(file_response, request, self.root, source)

    async def job_report(self, request: Request) -> Response:
        """The page of the command `report`. It has scripts of its own, so browsers isolate it in a sandbox."""
        name = request.path_params["name"]
        html = await self._wait(request, self.large.submit(pictures.report, self.root, name))
        policy = "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
        headers = {"Content-Security-Policy": policy, "Cross-Origin-Opener-Policy": NO_OPENER}
        if "download" in request.query_params:
            headers["Content-Disposition"] = "attachment; filename=report.html"
        return HTMLResponse(html, headers=headers)

    # ---- the form of a new film
    async def videos(self, request: Request) -> Response:
        """The keys of videos, images and styles that a user can choose. Starts the process that stylizes them."""
        if not self.prepared:
            self.prepared = True
            with suppress(FavError):  # its queue is full
                self.large.submit(pictures.prepare)
        films = (
            {os.path.relpath(job.film, self.root) for job in self.live.snapshot.jobs} if self.live.snapshot else set()
        )
        keys = await run_in_threadpool(places.listed, self.root, "video")
        sheets = await run_in_threadpool(places.listed, self.root, "picture")
        sheets = [key for key in sheets if not key.startswith(f"{LEARNING}/")]  # not those of trainings
        styles = await run_in_threadpool(lambda: list(places.styles(self.root)))
        videos = [key for key in keys if key not in films]
        return JSONResponse({"videos": videos, "pictures": sheets, "styles": styles})

    async def video(self, request: Request) -> Response:
        """The properties of a video."""
        path = await self._file(request, "video", "video")
        return JSONResponse(await self._wait(request, self.small.submit(pictures.describe, path)))

    async def moment(self, request: Request) -> Response:
        """A frame of a video."""
        path, at, width = (
            await self._file(request, "video", "video"),
            request_fields.seconds(request),
            request_fields.width(request),
        )
        key = ("moment", str(path), await run_in_threadpool(_tag, path), at, width)
        return await self._picture(request, key, lambda: self.small.submit(pictures.moment, path, at, width))

    async def picture(self, request: Request) -> Response:
        """A picture of the share, reduced."""
        path, width = await self._file(request, "picture", "picture"), request_fields.width(request)
        key = ("picture", str(path), await run_in_threadpool(_tag, path), width)
        return await self._picture(request, key, lambda: self.small.submit(pictures.picture, path, width))

    async def picture_facts(self, request: Request) -> Response:
        """The size of a picture of the share."""
        path = await self._file(request, "picture", "picture")
        return JSONResponse(await self._wait(request, self.small.submit(pictures.picture_facts, path)))

    async def trial(self, request: Request) -> Response:
        """A stylized frame of a video, at full strength. The header X-Seconds has the time that a frame takes."""
        path, at = await self._file(request, "video", "video"), request_fields.seconds(request)
        style = await run_in_threadpool(places.style_of, self.root, request.query_params.get("style"))
        mix = ()
        if mixed := request.query_params.get("mix"):
            mix = (
                (
                    await run_in_threadpool(places.style_of, self.root, mixed),
                    request_fields.number(request, "weight", 0.01, 0.99),
                ),
            )
        scale = request_fields.number(request, "style_scale", 0.25, 4, 1.0)
        width = request_fields.whole_number(request, "width", 0, pictures.WIDEST * 2) or None
        projection = request.query_params.get("projection", PROJECTIONS[0])
        if projection not in PROJECTIONS:
            raise FavError(f"projection: expected {' or '.join(PROJECTIONS)}, got {sanitize(repr(projection))}")
        tags = await run_in_threadpool(lambda: (_tag(path), _tag(style), *(_tag(one) for one, _ in mix)))
        key = ("trial", str(path), str(style), mix, tags, at, scale, width, projection)
        call = lambda: self.large.submit(pictures.trial, path, at, style, mix, scale, width, projection)
        return await self._picture(request, key, call)

    async def style_preview(self, request: Request) -> Response:
        """The sample frame in a style; without a style, the sample frame itself."""
        style, facts = request.query_params.get("style"), "facts" in request.query_params
        path = await run_in_threadpool(places.style_of, self.root, style) if style else HERE
        if facts:
            found = await self._wait(request, self.large.submit(pictures.style_facts, path))
            return JSONResponse({name: sanitize(text, 1000) for name, text in found.items()})
        key = ("style", str(path), await run_in_threadpool(_tag, path) if style else None)
        return await self._picture(request, key, lambda: self.large.submit(pictures.style_preview, path, not style))

    async def estimate(self, request: Request) -> Response:
        """The properties of a film before it is made, and the command that makes it."""
        wanted = await run_in_threadpool(forms.request_from, self.root, await request_fields.json_fields(request))
        found = await self._wait(request, self.large.submit(pictures.estimate, self.root, wanted))
        nodes = self.live.snapshot.nodes if self.live.snapshot else ()
        return JSONResponse({**found, "machines": sum(node.state in ALIVE for node in nodes)})

    # ---- uploads
    async def upload_begin(self, request: Request) -> Response:
        """Start an upload, or continue it: the answer has the offset of the next piece."""
        upload = Upload.of(await request_fields.json_fields(request))
        share = await run_in_threadpool(open_share, self.root, False)
        offset = await run_in_threadpool(uploads.begin, share, upload)
        return JSONResponse({"offset": offset, "chunk": uploads.CHUNK})

    async def upload_piece(self, request: Request) -> Response:
        """Receive one piece of an upload. The last piece completes it."""
        upload, offset = request_fields.upload(request), request_fields.whole_number(request, "offset", 0, 1 << 60)
        data = await request_fields.body(request, uploads.CHUNK)
        share = await run_in_threadpool(open_share, self.root, False)
        there = await run_in_threadpool(uploads.append, share, upload, offset, data)
        if there < upload.size:
            return JSONResponse({"offset": there})
        check = lambda path: self.small.submit(pictures.check, path).result()
        key = await run_in_threadpool(uploads.finish, share, upload, check)
        return JSONResponse({"offset": there, "key": key})

    async def upload_discard(self, request: Request) -> Response:
        """Discard an upload."""
        share = await run_in_threadpool(open_share, self.root, False)
        await run_in_threadpool(uploads.discard, share, request_fields.upload(request))
        return JSONResponse({})

    # ---- errors
    async def user_error(self, request: Request, error: Exception) -> Response:
        """An error that the user can cure: its message."""
        status = 409 if isinstance(error, OffsetError) else 400
        more = {"offset": error.offset} if isinstance(error, OffsetError) else {}
        return self._error(request, str(error), status, more)

    async def share_error(self, request: Request, error: Exception) -> Response:
        """The share does not answer, or was unmounted."""
        words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return self._error(request, f"the shared directory cannot be used at the moment ({sanitize(words)})", 503)

    async def http_error(self, request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = error.detail if isinstance(error, HTTPException) else "error"
        return self._error(request, detail, status)

    async def crashed(self, request: Request, error: Exception) -> Response:
        logger.error("%s %s", request.method, sanitize(request.url.path), exc_info=error)
        return self._error(request, "internal error; the output of `fav web` has the details", 500)

    def _error(self, request: Request, words: str, status: int, more: dict | None = None) -> Response:
        page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
        if page:
            answer = self._page("error.html", request, words=words)
            answer.status_code = status
            return answer
        return JSONResponse({"error": words, **(more or {})}, status)

    # ---- helpers
    def _share(self) -> SharedDir:
        return self.live.share

    def _job_and_spec(self, name: str) -> tuple[Job, JobSpec]:
        job = resolve_job(self._share(), name)
        return job, JobSpec.from_json(job.manifest.spec)

    def _beside(self, job: Job, spec: JobSpec) -> list[Path]:
        """The reports and evaluations of a film, which lie beside it."""
        film = resolve_inside(self.root, spec.out)
        endings = (".report.html", ".evaluation.txt", ".evaluation.csv", ".evaluation.json", ".evaluation.png")
        return [path for ending in endings if (path := film.with_suffix(ending)).is_file() and not path.is_symlink()]

    def _logs(self) -> list[str]:
        share = self._share()
        return sorted(
            name for name in share.system.list(share.layout.logs) if name.endswith(".log") and name.isprintable()
        )

    def _log_tail(self, name: str) -> str:
        fd = places.open_inside(self.root, self._share().layout.logs / name)
        try:
            size = os.fstat(fd).st_size
            data = os.pread(fd, LOG_TAIL, max(size - LOG_TAIL, 0))
        finally:
            os.close(fd)
        if size > LOG_TAIL:
            data = data.partition(b"\n")[2]
        return "\n".join(sanitize(line, 2000) for line in data.decode(errors="replace").splitlines())

    async def _file(self, request: Request, name: str, kind: str) -> Path:
        return await run_in_threadpool(places.file_of, self.root, request.query_params.get(name), kind)

    async def _picture(self, request: Request, key: tuple, call: Callable[[], Future]) -> Response:
        """A picture from the cache, or made by `call`."""
        found = self.cache.get(key)
        if found is None:
            answer = await self._wait(request, call())
            data, seconds = answer if isinstance(answer, tuple) else (answer, None)
            found = data, {} if seconds is None else {"X-Seconds": f"{seconds:.4f}"}
            self.cache.put(key, *found)
        headers = {"Cache-Control": "private, max-age=60", **found[1]}
        return Response(found[0], media_type="image/jpeg", headers=headers)

    async def _wait(self, request: Request, future: Future) -> Any:
        """Wait for the result of a worker. If the browser disconnects first, a call that has not started is cancelled."""
        wrapped = asyncio.wrap_future(future)
        try:
            while not wrapped.done():
                await asyncio.wait({wrapped}, timeout=1.0)
                if not wrapped.done() and await request.is_disconnected() and future.cancel():
                    raise HTTPException(499, "the browser has disconnected")
            return wrapped.result()
        except (CancelledError, asyncio.CancelledError):
            future.cancel()
            raise


ACTIONS: dict[str, Callable[[SharedDir, str, dict], str | list[str]]] = {
    "pause": lambda share, name, _: job_control.pause(share, name),
    "resume": lambda share, name, _: job_control.resume(share, name),
    "retry": lambda share, name, _: job_control.retry(share, name),
    "cancel": lambda share, name, _: job_control.cancel(share, name),
    "clean": lambda share, name, _: job_control.clean(share, name),
    "priority": lambda share, name, fields: job_control.prioritize(share, name, _priority(fields)),
}


def _priority(fields: dict) -> int:
    if type(value := fields.get("priority")) is not int:
        raise FavError("priority: expected a whole number")
    return value


def _methods(method: str) -> Callable[[str, Handler], Route]:
    return lambda path, handler: Route(path, handler, methods=[method])


def _film_of(job: Job, spec: JobSpec) -> Path:
    """The film of a finished job. Raises FavError if there is none yet."""
    name = job.flag_text("finished")
    if not name:
        raise FavError(f"{job.name}: expected a finished film, but the job is not finished")
    return resolve_inside(job.share.layout.root, name)


def _card_without_state(name: str) -> dict:
    """A card for a job that is in no snapshot yet."""
    return {
        "name": name, "state": "waiting", "words": "being looked at", "frames": "", "rate": "", "left": "", "who": "",
        "done": 0, "total": 0, "percent": 0, "latest": None, "lines": [], "actions": [], "finished": False, "priority": 0,
    }  # fmt: skip


def _tag(path: Path) -> tuple[int, int]:
    """A value that changes when a file is written. Raises FavError if the file is gone."""
    try:
        info = path.stat()
    except FileNotFoundError:
        raise FavError(f"{sanitize(path)}: expected a file, found none; was it removed?") from None
    return info.st_mtime_ns, info.st_size
