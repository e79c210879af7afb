"""The composition root: builds the parts of a hotline, starts them in order, stops them in the opposite one.

Embedded, a hotline is two processes: this one, which answers the line, the API and the pages and never computes, and
one child that does (``callcenter.compute``). Asterisk is a program beside them that survives both.
"""

import asyncio
import contextlib
import gc
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import structlog
import uvicorn

from api.app import create_app
from api.services import Services
from callcenter.access.service import AccessService
from callcenter.bus import make_bus
from callcenter.calls.desk import Desk
from callcenter.calls.ledger import CallLedger
from callcenter.calls.line import Line
from callcenter.calls.recovery import Recovery
from callcenter.calls.session import Parts
from callcenter.cases import city_settings, locating
from callcenter.cases.act_effects import RESUME
from callcenter.cases.acts import resume_job
from callcenter.cases.lamps import RING
from callcenter.cases.police_results import RESULT, OverMessages, result_handler
from callcenter.cases.recounting import RECOUNT, recount_handler, settle_provisional
from callcenter.cases.ringing import ring_handler
from callcenter.cases.supervision import LampWatch
from callcenter.city import names_file
from callcenter.city.city import City
from callcenter.city.tracks import sweep_tracks
from callcenter.compute.client import PLACES, ComputeClient
from callcenter.dispatch.feed import FeedSequencer
from callcenter.insight import evaluations
from callcenter.insight.drift import DriftWatch
from callcenter.insight.versions import follow
from callcenter.jobs.runner import Runner
from callcenter.jobs.store import Backoff
from callcenter.messages import policy, sending
from callcenter.messages.gateways import gateway_of
from callcenter.periodic import Periodic
from callcenter.settings import Settings
from callcenter.storage.engine import Database
from callcenter.telephony.agi import AgiServer
from callcenter.telephony.ami import AmiClient
from callcenter.telephony.asterisk import AsteriskError, AsteriskServer
from callcenter.telephony.audiosocket import AudioSocketServer
from callcenter.telephony.ports import Ports

log = structlog.get_logger()

FOLD_EVERY_S = 60.0
"""How far the figures of evaluation may lag behind the log."""
DAY_S = 86_400.0


class Runtime:
    """One process of the hotline. ``await start()``, then ``await wait()`` until a signal or ``stop()``."""

    def __init__(self, settings: Settings, *, say: Callable[[str], None] = print) -> None:
        self.settings = settings
        self._say = say
        self._stack = AsyncExitStack()
        self._stop = asyncio.Event()
        self._asterisk: AsteriskServer | None = None
        self._ami: AmiClient | None = None
        self.http_port = 0

    async def start(self) -> None:
        """Bring everything up. A part that fails takes down those already started and its error is raised."""
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def _start(self) -> None:
        settings = self.settings
        for folder in (settings.data_dir, settings.recordings, settings.spool, settings.data_dir / "run"):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        ports = Ports(settings.data_dir / "run" / "ports.json")

        # The child takes longest; the rest is built meanwhile, but the line is not opened before it hears.
        compute = ComputeClient(settings)
        self._stack.push_async_callback(compute.stop)
        hearing = asyncio.create_task(compute.start(), name="compute-start")
        self._stack.push_async_callback(_end, hearing)

        database = Database(settings.store_url)
        await database.connect()
        self._stack.push_async_callback(database.close)
        await database.migrate()
        bus = make_bus(settings.redis_url)
        self._stack.push_async_callback(bus.close)
        city = City(database)
        locating.use(city)
        self._stack.callback(locating.use, None)
        # Read before the line opens: no citizen's transaction waits for a map to be built.
        names = await city.names()
        log.info("the city is known", names=len(names), areas=len(await city.areas()))
        access = AccessService(database, settings)
        self._stack.callback(access.close)
        desk = Desk(database, bus, blind_every=settings.blind_sample_every)
        await desk.start()
        self._stack.push_async_callback(desk.stop)
        ledger = CallLedger(database, settings.spool, patience_ms=settings.database_patience_ms)
        await ledger.start()
        self._stack.push_async_callback(ledger.stop)
        sequencer = FeedSequencer(database)
        await sequencer.start()
        self._stack.push_async_callback(sequencer.stop)
        await self._start_jobs(database)
        drift = DriftWatch(database, settings)
        services = Services(
            settings=settings,
            db=database,
            bus=bus,
            access=access,
            compute=compute,
            ledger=ledger,
            sequencer=sequencer,
            drift=drift,
            desk=desk,
            city=city,
            line_status=self.line_status,
        )
        app = create_app(services)
        await hearing
        following = follow(bus, compute, settings.models_dir / "router")
        naming = names_file.follow(city, settings.data_dir / "run" / PLACES, compute)
        for name, work in (("follow-router", following), ("follow-city", naming), ("drift", drift.run())):
            self._stack.push_async_callback(_end, asyncio.create_task(work, name=name))
        if settings.asterisk != "none":
            await self._start_line(Parts(ledger, compute, bus), database, ports)
        await self._serve_http(app, ports)
        # What start-up made lives as long as the process; full collections that look at it cost 60–90 ms each.
        gc.collect()
        gc.freeze()
        self._announce(await access.first_start(), compute)

    async def _start_jobs(self, database: Database) -> None:
        """What is done after a change, and the lamps; stopped lamps first, then jobs, then the gateway they use."""
        settings = self.settings
        if settings.city_file is not None:
            city_settings.use(city_settings.read(settings.city_file))
        policy.use(policy.Policy.from_settings(settings))
        gateway = gateway_of(settings)
        if gateway is not None:
            self._stack.push_async_callback(gateway.close)
        backoff = Backoff.from_settings(settings)
        handlers = {**sending.handlers(gateway, backoff=backoff), RING: ring_handler(), RESUME: resume_job}
        if gateway is not None:  # without one results wait until there is
            handlers[RESULT] = result_handler(OverMessages(gateway))
        handlers[RECOUNT] = recount_handler(city_settings.in_force())
        for part in (
            Runner(database, handlers, backoff=backoff),
            LampWatch(database, every_s=settings.lamp_every_s),
            Periodic("evaluation", lambda at: evaluations.fold(database, at), every_s=FOLD_EVERY_S),
            # A newer calendar comes with a newer program, so at the start; and once a day, should one have failed.
            Periodic("calendar", lambda at: settle_provisional(database, city_settings.in_force(), at), every_s=DAY_S),
            Periodic("tracks", lambda at: sweep_tracks(database, at, days=settings.track_days), every_s=DAY_S),
        ):
            await part.start()
            self._stack.push_async_callback(part.stop)

    async def _start_line(self, parts: Parts, database: Database, ports: Ports) -> None:
        settings = self.settings
        audio = AudioSocketServer(settings.bridge_host, ports.keep("audiosocket", settings.audiosocket_port))
        await audio.start()
        self._stack.push_async_callback(audio.stop)
        recovery = Recovery(settings.recordings, parts, database, settings.lines)
        line = Line(settings, parts, audio, recovery)
        agi = AgiServer(settings.bridge_host, ports.keep("agi", settings.agi_port), line.routes)
        agi.start()
        self._stack.callback(agi.stop)
        self._stack.push_async_callback(line.stop)

        if settings.asterisk == "own":
            self._asterisk = AsteriskServer(settings, agi_port=agi.port, audiosocket_port=audio.port)
            await self._asterisk.start()
            self._stack.push_async_callback(self._asterisk.stop)
            watch = asyncio.create_task(self._keep_asterisk(self._asterisk), name="watch-asterisk")
            self._stack.callback(watch.cancel)
            endpoint = self._asterisk.endpoint
            address = (endpoint.ami_host, endpoint.ami_port, endpoint.ami_user, endpoint.ami_secret)
        else:
            secret = settings.ami_secret.get_secret_value()
            if not secret or not settings.ami_port:
                raise ValueError(
                    "CALLCENTER_ASTERISK=external needs CALLCENTER_AMI_PORT and _AMI_SECRET: see docs/asterisk.md"
                )
            address = (settings.ami_host, settings.ami_port, settings.ami_user, secret)
        self._ami = AmiClient(*address)
        line.attach(self._ami)
        await self._ami.start()
        self._stack.push_async_callback(self._ami.stop)
        recovery.start(self._ami, lambda: line.sessions.keys())
        self._stack.push_async_callback(recovery.stop)

    async def _keep_asterisk(self, asterisk: AsteriskServer) -> None:
        """Start Asterisk again when it has died: a city's line may be silent for seconds, not until morning."""
        while True:
            died: list[str] = []
            await asterisk.watch(died.append)
            if not died:
                return
            log.error("asterisk has died", how=died[0], mend="it is started again")
            for pause in (0.5, 1, 2, 5, 10, 30, 60):
                try:
                    await asterisk.start()
                    break
                except (AsteriskError, OSError) as fault:
                    log.error("asterisk does not start", fault=type(fault).__name__, again_in_s=pause)
                    await asyncio.sleep(pause)

    async def _serve_http(self, app: Any, ports: Ports) -> None:
        listener = socket.create_server((self.settings.http_host, ports.keep("http", self.settings.http_port)))
        # asyncio sets this only on listeners it makes itself; without it each answer waits some 40 ms for an ACK.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.http_port = listener.getsockname()[1]
        server = _QuietServer(
            uvicorn.Config(
                app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=5, lifespan="on"
            )
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")

        async def close() -> None:
            server.should_exit = True
            await asyncio.gather(serving, return_exceptions=True)
            listener.close()

        self._stack.push_async_callback(close)
        while not server.started:
            if serving.done():
                await serving
                raise RuntimeError(f"the HTTP server did not start on {self.settings.http_host}:{self.http_port}")
            await asyncio.sleep(0.02)

    def line_status(self) -> dict[str, Any]:
        """What ``/readyz`` shows of the line."""
        ami = self._ami is not None and self._ami.connected
        kind = self.settings.asterisk
        return {"asterisk": kind, "ami": ami, "up": ami or kind == "none"}

    def _announce(self, setup_path: str | None, compute: ComputeClient) -> None:
        """Say on the terminal, never in the log, where everything is; the administrator link is a secret."""
        base = self.settings.public_url or f"http://{self.settings.http_host}:{self.http_port}"
        self._say(f"pages   {base}/desk")
        self._say(f"API     {base}/docs")
        if self._asterisk is not None:
            endpoint = self._asterisk.endpoint
            numbers = ", ".join(self.settings.lines)
            self._say(f"line    sip:{endpoint.sip_host}:{endpoint.sip_port} – dial {numbers}")
        if compute.knows_only_synthetic and not self.settings.demo_line:
            self._say("note    the speech model knows only a synthetic voice: every decision waits for an agent")
        if setup_path is not None:
            self._say(f"first administrator (one time, 24 h): {base}{setup_path}")
        self._say("ready")

    async def wait(self) -> None:
        """Until SIGINT, SIGTERM or ``request_stop``."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        await self._stop.wait()

    def request_stop(self) -> None:
        """Let ``wait`` return."""
        self._stop.set()

    async def stop(self) -> None:
        """Stop the parts, last started first; calls under way are found again at the next start."""
        await self._stack.aclose()


class _QuietServer(uvicorn.Server):
    """uvicorn without its own signal handlers: the runtime stops all parts in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def serve(settings: Settings) -> None:
    """Run a hotline until it is told to stop."""
    runtime = Runtime(settings)
    await runtime.start()
    try:
        await runtime.wait()
    finally:
        await runtime.stop()
