"""What was not heard live is had from the recording: parts of legs, calls cut off by a crash, calls the bridge missed.

Runs after every call and as a scan, at start and then regularly. Every step can be repeated: utterances and routings
are identified by their sequence, a call by its UUID, and a call stays on the list until its recording is linked and no
part of it is missing.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID

import structlog

from callcenter import clock
from callcenter.calls.commands import CallEnded, CallStarted, LegClosed, RecordingLinked
from callcenter.calls.session import CallSession, LegSession, Parts
from callcenter.calls.unfinished import UnfinishedCall, known_calls, unfinished_calls
from callcenter.compute.errors import ComputeError
from callcenter.speech.events import Gap
from callcenter.storage.engine import Database
from callcenter.telephony import recordings
from callcenter.telephony.ami import AmiClient, AmiError
from callcenter.telephony.recordings import RecordingError

log = structlog.get_logger()

SCAN_EVERY_S = 10.0
SETTLED_AFTER_S = 2.5
"""MixMonitor writes every 2.04 s (measured, Asterisk 22): a file untouched for longer is finished."""
QUIET_S = 16.0
"""A recording untouched for this long belongs to no call under way, also where Asterisk cannot be asked."""
LOOK_BACK = timedelta(days=7)
UNNAMED_AFTER_S = 60.0
"""A recording with neither row nor sidecar: its row may still be in the spool, this long it is given."""
MARGIN_S = 0.3
"""Taken on both sides of a gap, so that no word is cut at its edge."""


class Recovery:
    """Finishes calls from their recordings. ``under_way`` are the calls that this process is holding itself."""

    def __init__(self, root: Path, parts: Parts, database: Database, lines: tuple[str, ...]) -> None:
        self._root = root
        self._parts = parts
        self._database = database
        self._lines = lines
        self._ami: AmiClient | None = None
        self._under_way: Callable[[], Collection[UUID]] = tuple
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.faults = 0

    def start(self, ami: AmiClient | None, under_way: Callable[[], Collection[UUID]]) -> None:
        """Begin scanning; the first scan is at once."""
        self._ami = ami
        self._under_way = under_way
        self._task = asyncio.create_task(self._run(), name="recovery")

    async def stop(self) -> None:
        """Stop; what was under way is found again at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def soon(self) -> None:
        """A call ended that nobody held: look in a moment."""
        self._wake.set()

    async def _run(self) -> None:
        while True:
            try:
                await self.scan()
            except Exception as fault:  # the scan is repeated; what failed is named and counted
                self.faults += 1
                log.error("recovery scan failed", fault=type(fault).__name__, exc_info=True)
            with suppress(TimeoutError):
                async with asyncio.timeout(SCAN_EVERY_S):
                    await self._wake.wait()
                await asyncio.sleep(SETTLED_AFTER_S)
            self._wake.clear()

    # -- one call -----------------------------------------------------------------------------------------------------

    async def finish(self, session: CallSession, missing: list[tuple[LegSession, list[Gap]]]) -> bool:
        """Link the recording of an ended call and fill what was not heard live. Whether nothing is left to do."""
        path = recordings.resolve(self._root, session.recording) if session.recording else None
        if path is None or not await self._settled(path, session):
            log.error("no recording of a call", call=str(session.call), mend="is the recordings folder writable?")
            return False
        whole = True
        for leg, gaps in missing:
            whole = await self._fill(session, leg, gaps, path) and whole
        if missing:
            await session.complete()
        if whole:
            # Linked last: a call is looked for again until its recording is.
            digest, size, seconds = await asyncio.to_thread(_weigh, path)
            await self._parts.ledger.record(RecordingLinked(session.call, digest, size, seconds))
            # The dialplan's note names the caller; the call's own row, which can be erased, does so now.
            await asyncio.to_thread(path.with_suffix(".call").unlink, missing_ok=True)
        return whole

    async def _fill(self, session: CallSession, leg: LegSession, gaps: list[Gap], mixed: Path) -> bool:
        path = mixed.with_name(f"{mixed.stem}-{leg.kind}.wav")
        if not await asyncio.to_thread(path.exists):
            path = mixed
        began, opened = session.recording_started_at, leg.opened_at
        lead = (opened - began).total_seconds() if began is not None and opened is not None else 0.0
        for gap in gaps:
            start = max(0.0, gap.start + lead - MARGIN_S)
            end = None if gap.end is None else gap.end + lead + MARGIN_S
            try:
                pcm = await asyncio.to_thread(recordings.read_pcm, path, start, end)
                found = await self._parts.compute.transcribe(pcm) if pcm else []
            except (ComputeError, TimeoutError, OSError, RecordingError) as fault:
                self.faults += 1
                log.error("a gap stays open for now", call=str(session.call), fault=type(fault).__name__)
                return False
            await session.heard_in_recording(leg, found, start - lead)
            log.info("gap filled from the recording", call=str(session.call), leg=str(leg.id), utterances=len(found))
        await self._parts.ledger.record(
            LegClosed(
                session.call,
                leg.id,
                leg.closed_at or session.ended_at or clock.now(),
                _seconds(leg.opened_at, leg.closed_at or session.ended_at),
                [],
            )
        )
        return True

    async def _settled(self, path: Path, session: CallSession) -> bool:
        """Wait until MixMonitor has closed ``path``; False when there is no such file."""
        if session.ended_at is not None and (clock.now() - session.ended_at).total_seconds() > QUIET_S:
            return await asyncio.to_thread(path.exists)
        before: int | None = None
        for _ in range(4):
            await asyncio.sleep(0.5 if before is None else SETTLED_AFTER_S)
            try:
                size = (await asyncio.to_thread(path.stat)).st_size
            except FileNotFoundError:
                continue
            if size == before:
                break
            before = size
        return before is not None

    # -- what another process left ------------------------------------------------------------------------------------

    async def scan(self) -> int:
        """Finish what can be finished now; returns how many calls were."""
        channels = await self._alive()
        done = 0
        async with self._database.read() as reader:
            unfinished = await unfinished_calls(reader, clock.now())
        for call in unfinished:
            if self._is_held(call.id) or (call.ended_at is None and self._may_be_up(call, channels)):
                continue
            if await self._resume(call):
                done += 1
        for found in await recordings.find_unclaimed(
            self._root, self._known, before=time.time() - SETTLED_AFTER_S, since=(clock.now() - LOOK_BACK).date()
        ):
            if not self._is_held(found.call) and await self._adopt(found, channels):
                done += 1
        return done

    def _is_held(self, call: UUID) -> bool:
        """By this process, or by a spool that the store has not taken yet: another pair of hands would do it twice."""
        return call in self._under_way() or self._parts.ledger.holds(call)

    async def _known(self, calls: set[UUID]) -> set[UUID]:
        async with self._database.read() as reader:
            return await known_calls(reader, calls)

    async def _alive(self) -> set[str] | None:
        """Channels that are up; None when Asterisk cannot be asked."""
        if self._ami is None or not self._ami.connected:
            return None
        try:
            return {channel.unique_id for channel in await self._ami.channels()}
        except AmiError as fault:
            log.warning("asterisk does not say which calls are up", fault=type(fault).__name__)
            return None

    def _may_be_up(self, call: UnfinishedCall, channels: set[str] | None) -> bool:
        if channels is not None:
            return call.channel in channels
        try:
            touched = recordings.resolve(self._root, call.recording).stat().st_mtime
        except (OSError, RecordingError):
            return False
        return time.time() - touched < QUIET_S

    async def _resume(self, call: UnfinishedCall) -> bool:
        session = CallSession(
            call.id, self._parts, channel=call.channel, first_routing=call.next_routing, said=call.said
        )
        session.recording = call.recording
        session.recording_started_at = call.answered_at
        missing: list[tuple[LegSession, list[Gap]]] = []
        try:
            for known in call.legs:
                leg = session.add_leg(known.kind, known.extension)
                leg.id, leg.opened_at, leg.closed_at = known.id, known.opened_at, known.closed_at
                leg.next_sequence = known.next_sequence
                gaps = list(known.gaps)
                if call.ended_at is None:
                    gaps.append(Gap(known.heard_until, None, "interrupted"))
                if gaps:
                    missing.append((leg, gaps))
            if not call.legs and call.answered_at is not None:
                leg = session.add_leg("citizen")
                leg.never_heard(call.answered_at)
                session.leg_opened(leg)
                missing.append((leg, list(leg.gaps)))
            log.info("a call is finished from its recording", call=str(call.id))
            if call.ended_at is not None:
                session.ended_at = call.ended_at
                return await self.finish(session, missing)
            return await self._conclude(session, missing, clock.now())
        finally:
            await session.close()

    async def _conclude(
        self, session: CallSession, missing: list[tuple[LegSession, list[Gap]]], ended_at: datetime
    ) -> bool:
        """End a call that another process left open. What is missing is on disk before the call counts as ended."""
        await session.settle()
        for leg, gaps in missing:
            noted = [(gap.start, gap.end, gap.reason) for gap in gaps]
            closed_at = leg.closed_at or ended_at
            await self._parts.ledger.record(
                LegClosed(session.call, leg.id, closed_at, _seconds(leg.opened_at, closed_at), noted)
            )
        session.ended_at = ended_at
        await session.complete()
        await self._parts.ledger.record(CallEnded(session.call, ended_at, 0))
        whole = await self.finish(session, missing)
        session.publish("ended")
        return whole

    async def _adopt(self, found: recordings.CallRecording, channels: set[str] | None) -> bool:
        """A recording whose call the bridge never heard of becomes one. Whether it did now."""
        if found.mixed is None and found.citizen is None:
            return False
        quiet = time.time() - found.touched
        note: recordings.Sidecar | None = None
        if found.sidecar is not None:
            try:
                note = await asyncio.to_thread(recordings.read_sidecar, found.sidecar)
            except (RecordingError, OSError) as fault:
                log.warning("a sidecar says nothing", call=str(found.call), fault=type(fault).__name__)
        if note is None:
            over = quiet > UNNAMED_AFTER_S
        elif channels is None:
            over = quiet > QUIET_S
        else:
            over = note.unique_id not in channels
        if not over:
            return False
        began = (note.answered_at or note.rung_at) if note else clock.from_epoch(found.touched)
        session = CallSession(found.call, self._parts, channel=note.unique_id if note else "")
        try:
            await session.started(
                CallStarted(
                    call=found.call,
                    line=note.line if note else self._lines[0],
                    number=note.number if note else "",
                    rung_at=note.rung_at if note else began,
                    answered_at=began,
                    recording=found.relative,
                    channel=session.channel,
                    recovered=True,
                )
            )
            leg = session.add_leg("citizen")
            leg.never_heard(began)
            session.leg_opened(leg)
            log.info("a recording becomes a call", call=str(found.call))
            return await self._conclude(session, [(leg, list(leg.gaps))], clock.from_epoch(found.touched))
        finally:
            await session.close()


def _seconds(opened_at: datetime | None, closed_at: datetime | None) -> float:
    return round((closed_at - opened_at).total_seconds(), 3) if opened_at and closed_at else 0.0


def _weigh(path: Path) -> tuple[str, int, float]:
    return recordings.sha256(path), path.stat().st_size, recordings.duration_s(path)
