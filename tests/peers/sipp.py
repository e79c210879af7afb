"""SIPp as the citizen: dials the hotline, speaks an A-law file, and hangs up or waits to be hung up on.

For the tests and for ``scripts/run --demo``. The scenario is ``scenarios/citizen.xml``; SIPp 3.6 is Debian's
sip-tester.
"""

import asyncio
import contextlib
import re
import shutil
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from callcenter.telephony.prompts import RATE, Voice, silence, speak, to_alaw
from tests.peers.rtp import SILENCE, RtpEar

SCENARIO: Final = Path(__file__).parent / "scenarios" / "citizen.xml"

GRACE_SECONDS: Final = 15.0
"""Beyond the longest call, before SIPp itself is given up: answering, BYE and its retransmissions."""


class PeerError(Exception):
    """A peer could not do its part; the text says which and why."""


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """One call as the citizen's telephone saw it. Times are Unix seconds; ``status`` answers the INVITE."""

    call_id: str
    status: int
    dialled_at: float
    answered_at: float | None
    ended_at: float | None
    ended_by: Literal["citizen", "hotline", "nobody"]

    @property
    def seconds(self) -> float:
        """From answer to end; 0 when it was never answered."""
        return self.ended_at - self.answered_at if self.ended_at and self.answered_at else 0.0


@dataclass(frozen=True, slots=True)
class SippResult:
    """All calls of one run. ``exit_code`` 0: each went as the scenario says."""

    exit_code: int
    calls: tuple[CallOutcome, ...]
    errors: str

    @property
    def ok(self) -> bool:
        """Whether every call was answered and ended properly."""
        return self.exit_code == 0 and all(one.status == 200 and one.ended_at for one in self.calls)


async def call(
    sip_host: str,
    sip_port: int,
    *,
    audio: Path | None = None,
    number: str = "13800000001",
    numbers: Sequence[str] | None = None,
    to: str = "12319",
    calls: int | None = None,
    rate: float = 10.0,
    hangup_after: float | None = None,
    longest: float = 120.0,
    local_ip: str = "127.0.0.2",
    send_rtp: bool = True,
    codec: Literal["PCMA", "PCMU"] = "PCMA",
    from_name: str = '"citizen" ',
    headers: str = "",
    hear: Path | None = None,
) -> SippResult:
    """Dial ``to`` from ``local_ip``, ``calls`` times at ``rate`` a second, and return when all calls are over.

    ``audio`` is raw 8 kHz A-law (or mu-law with ``codec="PCMU"``), spoken from the answer on and followed by silence;
    without it the citizen is silent but their telephone sends. ``send_rtp=False`` sends not one packet. ``numbers``
    are used in turn, else ``number``; both go into the From header as they are, so that a test can forge them. The
    citizen hangs up ``hangup_after`` seconds after the answer, or, without that, waits for the hotline to hang up, at
    most ``longest``. ``headers`` are whole header lines for the INVITE. ``hear`` keeps what one citizen hears, raw
    A-law.

    Raises PeerError when SIPp is missing or does not end in time. Cancelled, it ends SIPp.
    """
    if shutil.which("sipp") is None:
        raise PeerError("sipp is not installed: run scripts/setup demo, or apt-get install sip-tester")
    stay = hangup_after if hangup_after is not None else longest
    many = calls if calls is not None else len(numbers or (number,))
    if hear is not None and (many != 1 or codec != "PCMA"):
        raise PeerError("hear= follows one A-law call")
    speech = await asyncio.to_thread(audio.read_bytes) if audio else b""
    quiet = SILENCE if codec == "PCMA" else b"\xff"
    ear: RtpEar | None = None
    unused: socket.socket | None = None
    with tempfile.TemporaryDirectory(prefix="sipp-") as name:
        folder = Path(name)
        if hear is not None:
            ear = await RtpEar.open(local_ip, speech, send=send_rtp)
            media_port, spoken = str(ear.port), ""
        elif send_rtp:
            whole = speech + quiet * max(RATE, round((stay + 2) * RATE) - len(speech))
            await asyncio.to_thread((folder / "speech.raw").write_bytes, whole)
            payload = "8,PCMA/8000" if codec == "PCMA" else "0,PCMU/8000"
            media_port = "[rtpstream_audio_port]"
            spoken = f'  <nop><action><exec rtp_stream="{folder}/speech.raw,1,{payload}"/></action></nop>'
        else:
            unused = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            unused.bind((local_ip, 0))
            media_port, spoken = str(unused.getsockname()[1]), ""
        values = {
            "TO": to,
            "FROM_NAME": from_name,
            # a single number goes in as it is: SIPp's lists are cut at ';'
            "FROM_USER": "[field0]" if numbers else number,
            "HEADERS": "".join(f"{line}\n" for line in headers.splitlines() if line),
            "MEDIA_PORT": media_port,
            "PAYLOAD": "8" if codec == "PCMA" else "0",
            "CODEC": codec,
            "SPEAK": spoken,
            "STAY_MS": str(round(stay * 1000)),
        }
        scenario = re.sub(r"@([A-Z_]+)@", lambda match: values[match[1]], SCENARIO.read_text("utf-8"))
        (folder / "citizen.xml").write_text(scenario, "utf-8")
        (folder / "numbers.csv").write_text("SEQUENTIAL\n" + "\n".join(numbers or (number,)) + "\n", "utf-8")
        try:
            code = await _run(folder, sip_host, sip_port, local_ip, many, rate, stay)
        finally:
            if unused is not None:
                unused.close()
            if ear is not None:
                await ear.close(hear)
        errors = (folder / "errors.log").read_text("utf-8", "replace") if (folder / "errors.log").exists() else ""
        messages = folder / "messages.csv"
        outcomes = _outcomes(messages.read_text("utf-8", "replace") if messages.exists() else "")
    return SippResult(code, outcomes, errors.strip())


async def _run(folder: Path, host: str, port: int, local_ip: str, calls: int, rate: float, stay: float) -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((local_ip, 0))
        local_port = probe.getsockname()[1]
    arguments = ["sipp", f"{host}:{port}", "-sf", "citizen.xml", "-inf", "numbers.csv", "-m", str(calls)]
    arguments += ["-r", f"{rate:g}", "-l", str(calls), "-i", local_ip, "-mi", local_ip, "-p", str(local_port)]
    arguments += ["-nostdin", "-aa", "-skip_rlimit", "-trace_err", "-error_file", "errors.log"]
    arguments += ["-trace_shortmsg", "-shortmessage_file", "messages.csv"]
    process = await asyncio.create_subprocess_exec(
        *arguments,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    limit = calls / rate + stay + GRACE_SECONDS
    try:
        return await asyncio.wait_for(process.wait(), limit)
    except TimeoutError:
        raise PeerError(f"sipp did not end within {limit:.0f} s of {calls} calls") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def _outcomes(log: str) -> tuple[CallOutcome, ...]:
    """Calls from SIPp's short message log: date, time, Unix time, S(ent) or R(eceived), call id, CSeq, first line."""
    seen: dict[str, list[tuple[float, str, str, str]]] = {}
    for line in log.splitlines():
        columns = line.split("\t")
        if len(columns) >= 7:
            _, _, when, way, call_id, sequence, first = columns[:7]
            seen.setdefault(call_id, []).append((float(when), way, sequence, first))
    return tuple(_outcome(call_id, messages) for call_id, messages in seen.items())


def _outcome(call_id: str, messages: list[tuple[float, str, str, str]]) -> CallOutcome:
    status = 0
    answered = ended = None
    by: Literal["citizen", "hotline", "nobody"] = "nobody"
    for when, way, sequence, first in messages:
        if way == "R" and first.startswith("SIP/2.0 ") and sequence.endswith("INVITE"):
            status = int(first.split()[1])
            if status == 200 and answered is None:
                answered = when
        elif first.startswith("BYE ") and by == "nobody":
            by = "citizen" if way == "S" else "hotline"
            ended = when
    return CallOutcome(call_id, status, messages[0][0], answered, ended, by)


def render_speech(
    text: str,
    out_alaw: Path,
    *,
    voice: Voice | None = None,
    lead: float = 0.5,
    trail: float = 1.0,
) -> float:
    """Say ``text`` with espeak-ng into raw A-law with silence before and after; returns the voiced seconds.

    A tap loses its first 120 ms, and a telephone is never spoken into at once: hence ``lead``. Raises PromptError.
    """
    spoken = speak(text, voice)
    out_alaw.write_bytes(to_alaw(silence(lead)) + to_alaw(spoken) + to_alaw(silence(trail)))
    return len(spoken) / RATE
