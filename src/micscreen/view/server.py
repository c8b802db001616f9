"""The web application: addresses, and the server on this machine's own interface."""

from __future__ import annotations

import asyncio
import gzip
import secrets
import shlex
import socket
import threading
import webbrowser
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from micscreen.errors import JobLockedError, MicscreenError, UsageError
from micscreen.run.export import rethreshold
from micscreen.run.find import printable
from micscreen.view.door import Door
from micscreen.view.index import GROUPS, JobIndex
from micscreen.view.labels import LABELS, train_line, write_labels
from micscreen.view.listing import Query, details, drift, job_facts, listed, notes
from micscreen.view.pictures import SIDES, Pictures

TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
ASSETS: Final = (
    "index.html", "app.css", "main.js", "state.js", "overview.js", "gallery.js", "micrograph.js",
    "stage.js", "draw.js", "icon.svg", "vendor/uPlot.iife.min.js", "vendor/uPlot.min.css",
)  # fmt: skip
"""All files that the page is made of; no other is served."""

READERS: Final = 2
"""Micrographs that are read at once."""

Answer = Callable[[Request, Any], Any]


class View:
    """The answers of the application, each from the job's index."""

    def __init__(self, job: Path) -> None:
        self.index = JobIndex(job)
        self.pictures = Pictures(self.index)

    def state(self, request: Request, body: Any) -> Any:
        """Return the revision, after a look at what is new."""
        self.index.refresh()
        return job_facts(self.index)

    def counts(self, request: Request, body: Any) -> Any:
        """Return picks per bin of goodness, for each thing that speaks against a pick."""
        revision = self.index.revision
        counts = self.index.counts().tolist()
        return {"revision": revision, "groups": GROUPS, "counts": counts}

    def drift(self, request: Request, body: Any) -> Any:
        """Return areas over the order of the run."""
        return drift(self.index)

    def notes(self, request: Request, body: Any) -> Any:
        """Return suspect, failed and empty micrographs."""
        return notes(self.index)

    def list(self, request: Request, body: Any) -> Any:
        """Return a part of the sorted and filtered micrographs."""
        return listed(self.index, _query(request))

    def micrograph(self, request: Request, body: Any) -> Any:
        """Return all that is known of one."""
        return details(self.index, _key(request))

    def image(self, request: Request, body: Any) -> Response:
        """Return a micrograph as JPEG."""
        side = _number(request, "side", SIDES[0])
        if side not in SIDES:
            raise UsageError(f"pictures have a side of {SIDES[0]} or {SIDES[1]} px")
        data = self.pictures.jpeg(_key(request), side)
        # The address names the file's version, so the browser may keep it.
        keep = {"Cache-Control": "private, max-age=3600"}
        return Response(data, media_type="image/jpeg", headers=keep)

    def mask(self, request: Request, body: Any) -> Response:
        """Return the class per px."""
        return _packed(self.pictures.mask(_key(request)))

    def picks(self, request: Request, body: Any) -> Response:
        """Return picks with their scores."""
        return _packed(self.pictures.picks(_key(request)))

    def override(self, request: Request, body: Any) -> Any:
        """Decide about one micrograph."""
        self.index.change(_key(request), body)
        return details(self.index, _key(request))

    def export(self, request: Request, body: Any) -> Any:
        """Write the set of a threshold, and say how to do it again."""
        step = body.get("step") if isinstance(body, dict) else None
        if not isinstance(step, int) or not 0 < step <= 1000:
            raise UsageError("a set needs a threshold above 0 and at most 1")
        report = rethreshold(self.index.job, step / 1000, prefix="manual", manual=True)
        return {
            "kept": report.kept,
            "rejected": report.rejected,
            "unscreened": report.unscreened,
            "folders": [printable(folder.name) for folder in report.folders],
            "command": command_line(self.index.job, step),
        }

    def labels(self, request: Request, body: Any) -> Any:
        """Write what was painted as labels, and say how to train with them."""
        labelled = write_labels(self.index)
        command = train_line(self.index, labelled)
        return {"labels": len(labelled), "folder": LABELS, "command": command}


def command_line(job: Path, step: int) -> str:
    """Return the command that writes the same set."""
    where = shlex.quote(printable(str(job.resolve())))
    return f"micscreen rethreshold {where} --threshold {step / 1000:g} --manual"


def _key(request: Request) -> int:
    return int(request.path_params["key"])


def _number(request: Request, name: str, default: int) -> int:
    try:
        return int(request.query_params.get(name, default))
    except ValueError as error:
        raise UsageError(f"{name} is no number") from error


def _query(request: Request) -> Query:
    """Return what a list's address asks for."""
    asked = request.query_params
    try:
        least = float(asked.get("least", 0))
    except ValueError as error:
        raise UsageError("least is no number") from error
    return Query(
        sort=asked.get("sort", "order"),
        descending=asked.get("descending") == "1",
        show=asked.get("show", "all"),
        kind=asked.get("kind", ""),
        least=least,
        text=asked.get("text", ""),
        step=_number(request, "step", 800),
        offset=_number(request, "offset", 0),
        limit=_number(request, "limit", 100),
    )


def _packed(data: bytes) -> Response:
    """Return bytes, packed: class maps are mostly one value."""
    packed = gzip.compress(data, 1)
    headers = {"Content-Encoding": "gzip"}
    return Response(packed, media_type="application/octet-stream", headers=headers)


class Readers:
    """Few threads that read micrographs, so that memory stays small whatever is scrolled past."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(READERS)
        self._threads = ThreadPoolExecutor(READERS, "micrographs")

    async def run(self, answer: Answer, request: Request) -> Any:
        """Answer when a thread is free, unless the page has lost interest by then."""
        await request.body()
        async with self._free:
            if await request.is_disconnected():
                return Response(status_code=499)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, answer, request, None)


def _answered(answer: Answer, readers: Readers | None = None) -> Callable[[Request], Any]:
    """Return an endpoint that computes in a thread and turns errors into answers."""

    async def endpoint(request: Request) -> Response:
        try:
            body = await request.json() if request.method == "POST" else None
        except ValueError:
            return JSONResponse({"error": "this is no JSON"}, 400)
        try:
            if readers is not None:
                found = await readers.run(answer, request)
            else:
                found = await run_in_threadpool(answer, request, body)
        except KeyError:
            return JSONResponse({"error": "there is no such micrograph"}, 404)
        except UsageError as error:
            return JSONResponse({"error": printable(str(error))}, 400)
        except JobLockedError:
            text = "another set is being written; try again in a moment"
            return JSONResponse({"error": text}, 409)
        except (MicscreenError, OSError) as error:
            return JSONResponse({"error": printable(str(error))}, 409)
        return found if isinstance(found, Response) else JSONResponse(found)

    return endpoint


def _asset(name: str) -> Callable[[Request], Any]:
    """Return an endpoint for one file of the page, read once."""
    data = files("micscreen.view").joinpath("assets", *name.split("/")).read_bytes()
    kind = TYPES[Path(name).suffix]

    async def endpoint(request: Request) -> Response:
        return Response(data, media_type=kind)

    return endpoint


def make_app(job: Path, token: str) -> Starlette:
    """Return the application for one job.

    Parameters
    ----------
    job
        The job folder.
    token
        That the first address must hold.

    Raises
    ------
    JobError
        When it is no job, or nothing was screened in it yet.
    """
    view = View(job)
    routes = [Route("/", _asset("index.html"))]
    routes += [Route(f"/{name}", _asset(name)) for name in ASSETS[1:]]
    plain = {
        "state": view.state,
        "counts": view.counts,
        "drift": view.drift,
        "notes": view.notes,
        "list": view.list,
        "micrograph/{key:int}": view.micrograph,
        "mask/{key:int}": view.mask,
        "picks/{key:int}": view.picks,
    }
    writing = {
        "override/{key:int}": view.override,
        "export": view.export,
        "labels": view.labels,
    }
    routes += [Route(f"/api/{path}", _answered(answer)) for path, answer in plain.items()]
    routes.append(Route("/api/image/{key:int}", _answered(view.image, Readers())))
    for path, answer in writing.items():
        routes.append(Route(f"/api/{path}", _answered(answer), methods=["POST"]))
    app = Starlette(routes=routes, middleware=[Middleware(Door, token=token)])
    app.state.view = view
    return app


def serve(
    job: Path, port: int, said: Callable[[str, int], None], *, open_browser: bool = True
) -> None:
    """Serve a job on this machine until interrupted.

    Parameters
    ----------
    job
        The job folder.
    port
        0 for any that is free.
    said
        Is told the address, and the port.
    open_browser
        Whether to open it.

    Raises
    ------
    JobError
        When it is no job.
    UsageError
        When the port is taken.
    """
    token = secrets.token_urlsafe(24)
    app = make_app(job, token)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        hint = "Leave --port out for a free one."
        raise UsageError(f"port {port} cannot be used ({error.strerror})", hint=hint) from error
    port = listener.getsockname()[1]
    address = f"http://127.0.0.1:{port}/?token={token}"
    threading.Thread(target=app.state.view.index.refresh, daemon=True).start()
    said(address, port)
    if open_browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    uvicorn.Server(config).run(sockets=[listener])
