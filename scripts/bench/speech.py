"""What hearing costs beyond Vosk: our two processes beside raw Vosk, on the same streams, at the same time.

Both are fed in real time, so both suffer the same neighbours on the machine. "Raw" is the processor time inside Vosk's
calls alone, in a process of its own with as many threads: AcceptWaveform in pieces of 200 ms and the final result, no
partial results, no silence measure, no pacing. "Ours" is everything else as well: the main process that takes 100 ms of
every leg ten times a second, the child with its queues, silence measure, partial results, and what it tells.

Then as many legs as were measured to fit are held, and their lag and decoding times are shown.
"""

import argparse
import asyncio
import csv
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from uuid import uuid4

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

RATE = 8_000
TICK = RATE // 10
PIECE = RATE // 5


def streams(model: Path, count: int, seconds: float, pause: float) -> list[np.ndarray]:
    """``count`` different streams of ``seconds``: sentences one after the other with ``pause`` seconds between."""
    from callcenter.speech.commands import read_wav, resample
    from callcenter.telephony.prompts import from_alaw, speak, to_alaw

    shared = ROOT.parent / "shared" / "speech"
    if model.name == "cmn-synthetic" or not shared.is_dir():
        texts = ("路灯坏了很久没有人修", "小区门口的垃圾好几天没有人清理", "楼上邻居半夜装修噪音很大")
        voices = [speak(text) for text in texts]
    else:
        with (shared / "speech.tsv").open(encoding="utf-8") as file:
            names = [row["file"] for row in csv.DictReader(file, delimiter="\t")]
        voices = [resample(*read_wav(shared / name), RATE) for name in names[:40]]
    found = []
    for number in range(count):
        parts: list[np.ndarray] = []
        at = number
        while sum(map(len, parts)) < seconds * RATE:
            parts += [voices[at % len(voices)], np.zeros(round(pause * RATE), np.int16)]
            at += 7
        found.append(from_alaw(to_alaw(np.concatenate(parts)[: int(seconds * RATE)])))
    return found


def raw(model: Path, audio: Path, threads: int) -> None:
    """The raw process: waits for a line on stdin, decodes in real time, prints its processor seconds as JSON."""
    import vosk

    vosk.SetLogLevel(-1)
    loaded = vosk.Model(str(model))
    pcm = np.load(audio)
    spent = [0.0] * threads
    characters = [0] * threads
    recognisers = [vosk.KaldiRecognizer(loaded, RATE) for _ in pcm]
    for recogniser in recognisers:
        recogniser.SetWords(True)
    print("loaded", flush=True)
    sys.stdin.readline()
    began = time.monotonic()

    def decode(thread: int) -> None:
        for piece in range(pcm.shape[1] // PIECE):
            wait = began + (piece + 1) * PIECE / RATE - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            mine = [pcm[n, piece * PIECE : (piece + 1) * PIECE].tobytes() for n in range(thread, len(pcm), threads)]
            before = time.thread_time()
            for recogniser, data in zip(recognisers[thread::threads], mine, strict=True):
                if recogniser.AcceptWaveform(data):
                    characters[thread] += len(recogniser.Result())
            spent[thread] += time.thread_time() - before
        before = time.thread_time()
        for recogniser in recognisers[thread::threads]:
            characters[thread] += len(recogniser.FinalResult())
        spent[thread] += time.thread_time() - before

    workers = [threading.Thread(target=decode, args=(n,)) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(json.dumps({"cpu": sum(spent)}), flush=True)


async def feed(compute: object, pcm: list[np.ndarray], heard: list[object]) -> float:
    """Feed every stream in real time through the client; returns the largest lag seen."""
    legs = [compute.open_leg(uuid4(), heard.append) for _ in pcm]  # type: ignore[attr-defined]
    assert not any(leg.refused for leg in legs), "the machine has no room for so many streams: use fewer"
    began, lag = time.monotonic(), 0.0
    for tick in range(len(pcm[0]) // TICK):
        await asyncio.sleep(max(0.0, began + (tick + 1) * TICK / RATE - time.monotonic()))
        for leg, samples in zip(legs, pcm, strict=True):
            leg.feed(samples[tick * TICK : (tick + 1) * TICK].tobytes())
        lag = max(lag, compute.lag)  # type: ignore[attr-defined]
    await asyncio.gather(*(leg.finish(30) for leg in legs))
    return lag


async def measure(arguments: argparse.Namespace) -> None:
    from callcenter.compute.client import ComputeClient
    from callcenter.compute.errors import ComputeError
    from callcenter.settings import Settings
    from callcenter.speech.events import Gap, Partial, Utterance

    threads = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        pcm = streams(arguments.model, arguments.streams, arguments.seconds, arguments.pause)
        audio = Path(folder) / "streams.npy"
        np.save(audio, np.stack(pcm))
        command = [sys.executable, __file__, "--raw", str(audio), "--model", str(arguments.model)]
        beside = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
        assert beside.stdin is not None
        assert beside.stdout is not None
        compute = ComputeClient(Settings(data_dir=Path(folder), speech_model=arguments.model))
        await compute.start()
        assert compute.pid is not None
        child = psutil.Process(compute.pid)
        try:
            await compute.route("路灯坏了", timeout=60)  # the router has loaded, its cost is not hearing's
        except ComputeError:
            print("(no router: hearing alone is measured)")
        await asyncio.to_thread(beside.stdout.readline)
        heard: list[object] = []
        child_before, ours_before = sum(child.cpu_times()[:2]), time.process_time()
        beside.stdin.write("go\n")
        beside.stdin.flush()
        lag = await feed(compute, pcm, heard)
        ours, theirs = time.process_time() - ours_before, sum(child.cpu_times()[:2]) - child_before
        told = await asyncio.to_thread(beside.stdout.readline)
        beside.wait()
        beside.stdin.close()
        beside.stdout.close()
        vosk = json.loads(told)["cpu"]
        total = arguments.streams * arguments.seconds
        partials = sum(isinstance(event, Partial) for event in heard)
        finals = sum(isinstance(event, Utterance) for event in heard)
        print(
            f"model {arguments.model.name}, {threads} threads, {arguments.streams} streams, {arguments.seconds:.0f} s"
        )
        print(f"with pauses of {arguments.pause} s; {finals} utterances, {partials} partials, lag at most {lag:.2f} s")
        print()
        print("                               CPU s   % of a core a stream")
        for name, cost in (
            ("raw Vosk, its calls alone", vosk),
            ("ours: compute child", theirs),
            ("ours: feeding (main process)", ours),
            ("ours, both", theirs + ours),
        ):
            print(f"{name:28s} {cost:8.2f}   {100 * cost / total:8.2f}")
        print(f"\nours / raw Vosk = {(theirs + ours) / vosk:.3f}\n")

        held = min(compute.capacity, 200)
        pcm = streams(arguments.model, held, arguments.hold, arguments.pause)
        heard.clear()
        child_before, began = sum(child.cpu_times()[:2]), time.monotonic()
        lag = await feed(compute, pcm, heard)
        busy = (sum(child.cpu_times()[:2]) - child_before) / (time.monotonic() - began)
        times = sorted(event.decode_ms for event in heard if isinstance(event, Utterance))
        gaps = sum(isinstance(event, Gap) for event in heard)
        print(f"capacity measured at start: {held} legs (real-time factor {compute.real_time_factor:.4f})")
        if times:
            p50, p99 = times[len(times) // 2], times[min(len(times) - 1, int(len(times) * 0.99))]
            print(
                f"all held for {arguments.hold:.0f} s: child {100 * busy:.0f} % of a core, lag at most {lag:.2f} s, "
                f"{gaps} gaps, decided -> text {p50:.0f} ms p50, {p99:.0f} ms p99 over {len(times)} utterances"
            )
        await compute.stop()


def main() -> None:
    beside = ROOT.parent / "shared" / "models" / "cmn-fsmn"
    default = beside if beside.is_dir() else ROOT / "models" / "cmn-synthetic"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=default, help=f"Vosk model directory; default {default.name}")
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--hold", type=float, default=15.0, help="seconds for which measured capacity is held")
    parser.add_argument("--pause", type=float, default=0.3, help="seconds of silence between sentences")
    parser.add_argument("--raw", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.raw:
        raw(arguments.model, arguments.raw, len(os.sched_getaffinity(0)))
    else:
        asyncio.run(measure(arguments))


if __name__ == "__main__":
    main()
