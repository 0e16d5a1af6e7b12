"""A dashboard of Ray on this machine, as far as jobs go: it takes one, and says what a test would have it say."""

import asyncio
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from aiohttp import web
from aiohttp.typedefs import Handler


@dataclass
class Dashboard:
    """What it was sent, and how its job goes.

    says: The job's log.
    code: The job's exit code; null where Ray ended it.
    """

    says: str = ""
    code: int | None = 0
    status: str = "SUCCEEDED"
    token: str = ""
    address: str = ""
    submitted: dict[str, Any] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/version", self._version),
            web.get("/api/packages/{protocol}/{name}", self._is_known),
            web.put("/api/packages/{protocol}/{name}", self._keep),
            web.post("/api/jobs/", self._take),
            web.get("/api/jobs/", self._list),
            web.get("/api/jobs/{job}", self._tell),
            web.get("/api/jobs/{job}/logs/tail", self._tail),
        ]

    @web.middleware
    async def ask_for_token(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.token not in request.headers.get("Authorization", ""):
            return web.Response(status=403, text="Forbidden: Invalid authentication token")
        return await handler(request)

    def _job(self) -> dict[str, Any]:
        job = {"type": "SUBMISSION", "submission_id": self.submitted["submission_id"], "status": self.status}
        return {**job, "entrypoint": "sweep", "driver_exit_code": self.code, "message": "a fault"}

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "4", "ray_version": ray.__version__, "ray_commit": "", "session_name": ""})

    async def _is_known(self, _: web.Request) -> web.Response:
        return web.Response(status=404)

    async def _keep(self, request: web.Request) -> web.Response:
        self.files = zipfile.ZipFile(io.BytesIO(await request.read())).namelist()
        return web.Response()

    async def _take(self, request: web.Request) -> web.Response:
        self.submitted = await request.json()
        return web.json_response({"job_id": None, "submission_id": self.submitted["submission_id"]})

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response([self._job()] if self.submitted else [])

    async def _tell(self, _: web.Request) -> web.Response:
        return web.json_response(self._job())

    async def _tail(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(self.says)
        await socket.close()
        return socket


@contextmanager
def dashboard(
    *, says: str = "", code: int | None = 0, status: str = "SUCCEEDED", token: str = ""
) -> Iterator[Dashboard]:
    """One that listens while the block runs."""
    one, loop, is_up = Dashboard(says, code, status, token), asyncio.new_event_loop(), threading.Event()

    async def serve() -> web.AppRunner:
        app = web.Application(middlewares=[one.ask_for_token], client_max_size=2**26)
        app.add_routes(one.routes())
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        one.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
        is_up.set()
        return runner

    def run() -> None:
        runner = loop.run_until_complete(serve())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    assert is_up.wait(20)
    try:
        yield one
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
