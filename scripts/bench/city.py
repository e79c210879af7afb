"""The ground of a city: how fast it is imported and how fast it answers, on SQLite and on a PostgreSQL of its own.

The city is invented (``callcenter.city.invented``), as large as ``--size`` says.

import   each kind in a process of its own: rows a second without the program's start, and the most memory it had.
look     p50 and p99 in milliseconds, after some that do not count, each from the question to the answer:
  areas      point → areas, from memory; at most 1 ms asked.
  nearest    the nearest part of a category, of a part's own; at most 2 ms asked.
  spoken     an address as a caller says it → points (``City.find``); at most 10 ms asked. Of how many the first point
             is the door itself, and of how many it is within 100 m of it.
  misheard   the same, a fifth of the characters others of the same sound or lost.
  context    what lies around a point; at most 20 ms asked.

Figures are of this process and the server on this machine together: leave it alone meanwhile.
"""

import argparse
import asyncio
import csv
import gc
import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from callcenter import clock
from callcenter.access.audit import SYSTEM
from callcenter.city import assets, context, invented
from callcenter.city.city import City
from callcenter.city.commands import FOLDER
from callcenter.city.coordinates import WGS84, Point, metres, moved
from callcenter.city.ground import IN_FORCE
from callcenter.city.importing import import_file
from callcenter.city.kinds import ASSETS
from callcenter.storage.engine import Database
from callcenter.storage.migrate import migrate
from callcenter.tables.sources import Source
from classifier.noise import Noise
from tests.databases import Cluster, new_cluster

WARM = 100
NEAR_M = 100.0
DIGITS = "零一二三四五六七八九"
ASKED = {"areas": 1.0, "nearest": 2.0, "spoken": 10.0, "misheard": 10.0, "context": 20.0}


def percentiles(seconds: list[float]) -> tuple[float, float]:
    """p50 and p99 in milliseconds, by nearest rank."""
    ordered = sorted(seconds)
    p50, p99 = (ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000 for share in (0.5, 0.99))
    return p50, p99


def counted(number: int) -> str:
    """A number as it is said: 一百二十三."""
    out, gap = "", False
    for unit, name in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, number = divmod(number, unit)
        if digit:
            out += ("零" if gap and out else "") + DIGITS[digit] + name
        gap = not digit
    return out.removeprefix("一") if out.startswith("一十") else out


def said(place: str, row: dict[str, str], dice: random.Random) -> str:
    """What a caller says of a door."""
    if row["number"]:
        spelled = "".join(DIGITS[int(digit)] for digit in row["number"])
        return f"{place}{counted(int(row['number'])) if dice.random() < 0.7 else spelled}号"
    stairs = f"{counted(int(row['door']))}单元" if row["door"] else ""
    return f"{place}{counted(int(row['building']))}{dice.choice(('栋', '号楼', '幢'))}{stairs}"


class Looks:
    """The questions of one city, and how long they take."""

    def __init__(self, db: Database, folder: Path, rounds: int) -> None:
        self.db, self.rounds = db, rounds
        self.city = City(db)
        self.dice = random.Random(5)  # noqa: S311 - the same every time, not secret
        places = {one["properties"]["code"]: one["properties"]["name"] for one in _features(folder / "places.geojson")}
        doors = self._some(folder / "addresses.csv")
        self.doors = [(said(places[row["place"]], row, self.dice), row) for row in doors]
        self.parts = self._some(folder / "assets.csv")
        self.noise = Noise([*places.values(), DIGITS + "十百千号栋楼单元幢"])

    def _some(self, path: Path) -> list[dict[str, str]]:
        """As many rows of a file as are asked for, from all over it."""
        kept: list[dict[str, str]] = []
        with path.open(encoding="utf-8", newline="") as file:
            for number, row in enumerate(csv.DictReader(file)):
                if len(kept) < self.rounds:
                    kept.append(row)
                elif (at := self.dice.randrange(number + 1)) < self.rounds:
                    kept[at] = row
        return kept

    def _somewhere(self) -> Point:
        """A point beside a part, wherever there are streets."""
        row = self.dice.choice(self.parts)
        return moved(
            Point(float(row["lon"]), float(row["lat"])), self.dice.uniform(-40, 40), self.dice.uniform(-40, 40)
        )

    async def _timed(self, name: str, ask: Callable[[int], Awaitable[Any]]) -> list[Any]:
        taken, answers = [], []
        for number in range(-WARM, self.rounds):
            began = time.perf_counter()
            answer = await ask(number % len(self.doors))
            if number >= 0:
                taken.append(time.perf_counter() - began)
                answers.append(answer)
        p50, p99 = percentiles(taken)
        verdict = "" if p99 <= ASKED[name] else f"  more than the {ASKED[name]:g} ms asked"
        print(f"  {name:10} p50 {p50:7.2f} ms   p99 {p99:7.2f} ms{verdict}", flush=True)
        return answers

    async def all(self) -> None:
        """Every question."""
        began = time.perf_counter()
        areas, names = await self.city.areas(), await self.city.names()
        print(f"  {len(areas)} areas and {len(names)} names read in {time.perf_counter() - began:.1f} s")
        # What the libraries brought along is not looked through again (see scripts/bench/store.py).
        gc.collect()
        gc.freeze()
        points = [self._somewhere() for _ in range(self.rounds)]
        await self._timed("areas", lambda number: self.city.at(points[number % len(points)]))
        await self._timed("nearest", self._nearest)
        for name, share in (("spoken", 0.0), ("misheard", 0.2)):
            phrases = [self.noise.replace(phrase, share, self.dice) for phrase, _ in self.doors]
            answers = await self._timed(name, lambda number, phrases=phrases: self.city.find(phrases[number]))
            exact = near = 0
            for found, (_, row) in zip(answers, self.doors, strict=False):
                there = Point(float(row["lon"]), float(row["lat"]))
                exact += bool(found) and found[0].address == row["code"]
                near += bool(found) and metres(found[0].point, there) <= NEAR_M
            count = len(answers)
            print(f"  {'':10} the door itself {exact / count:.1%}, within {NEAR_M:.0f} m {near / count:.1%}")
        await self._timed("context", lambda number: self._context(points[number % len(points)]))

    async def _nearest(self, number: int) -> object:
        place = self._somewhere()
        category = self.parts[number % len(self.parts)]["code"][6:10]
        versions = await self.city.versions()
        async with self.db.read() as session:
            return await assets.nearest(session, versions[ASSETS], place, categories=(category,))

    async def _context(self, place: Point) -> object:
        lies, versions = await self.city.at(place), await self.city.versions()
        async with self.db.read() as session:
            return await context.around(session, place, lies, versions)


def _features(path: Path) -> list[dict[str, Any]]:
    features: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["features"]
    return features


async def load(url: str, kind: str, path: Path) -> None:
    """Import one file in this process, and say what it took: rows, seconds, MB."""
    db = Database(url)
    await db.connect()
    try:
        began = time.perf_counter()
        told = await import_file(db, kind, Source(path=path), actor=SYSTEM, at=clock.now(), datum=WGS84)
        took = time.perf_counter() - began
    finally:
        await db.close()
    if told.state != IN_FORCE:
        raise SystemExit(f"{path}: {told.faults[0]}")
    # Not getrusage: its peak is inherited from the process that started this one.
    [peak] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    print(told.rows, took, int(peak.split()[1]) // 1024)


def imports(url: str, folder: Path) -> None:
    """Every file of the city, each in a process of its own."""
    rows_in_all, seconds_in_all = 0, 0.0
    for kind, name in FOLDER:
        if not (folder / name).exists():
            continue
        done = subprocess.run(
            [sys.executable, __file__, "--load", kind, str(folder / name), url],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        rows, seconds, peak = done.stdout.split()
        rows_in_all, seconds_in_all = rows_in_all + int(rows), seconds_in_all + float(seconds)
        rate = int(rows) / float(seconds)
        print(
            f"  {kind:14} {int(rows):9,} rows {float(seconds):8.2f} s {rate:9,.0f} rows/s   peak {peak:>4} MB",
            flush=True,
        )
    print(f"  {'all':14} {rows_in_all:9,} rows {seconds_in_all:8.2f} s {rows_in_all / seconds_in_all:9,.0f} rows/s")


async def stores(folder: Path, on: str, cluster: Cluster | None) -> dict[str, str]:
    """The URLs of new databases."""
    urls = {}
    if "sqlite" in on:
        for old in folder.glob("city.db*"):
            old.unlink()
        urls["SQLite"] = f"sqlite+aiosqlite:///{folder / 'city.db'}"
    if cluster is not None:
        cluster.sql("CREATE DATABASE city")
        urls["PostgreSQL"] = cluster.url("city")
    for url in urls.values():
        await migrate(url)
    return urls


async def looks(url: str, folder: Path, rounds: int) -> None:
    """The questions on one database."""
    db = Database(url)
    await db.connect()
    try:
        await Looks(db, folder, rounds).all()
    finally:
        await db.close()


async def analyzed(cluster: Cluster) -> None:
    """What autovacuum, which is off here, does by itself within minutes."""
    connection = await asyncpg.connect(host=str(cluster.folder), user="postgres", database="city", timeout=60)
    await connection.execute("ANALYZE")
    await connection.close()


def main() -> None:
    """Entry."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--on", default="sqlite,postgresql")
    parser.add_argument("--size", choices=sorted(invented.PRESETS), default="demo")
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the city's files and store are, or will be")
    parser.add_argument("--load", nargs=3, metavar=("KIND", "FILE", "URL"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.load:
        kind, file, url = given.load
        asyncio.run(load(url, kind, Path(file)))
        return
    folder = (given.keep or Path(tempfile.mkdtemp(prefix="hotline-city-"))).absolute()
    files = folder / given.size
    if not (files / "done").exists():
        began = time.perf_counter()
        invented.write(invented.invent(7, invented.PRESETS[given.size]), files)
        (files / "done").touch()
        print(f"invented in {time.perf_counter() - began:.0f} s")
    cluster = new_cluster(durable=True) if "postgresql" in given.on else None
    try:
        for name, url in asyncio.run(stores(folder, given.on, cluster)).items():
            print(f"{name}, size {given.size}, load {os.getloadavg()[0]:.1f}")
            imports(url, files)
            if cluster is not None and name == "PostgreSQL":
                asyncio.run(analyzed(cluster))
            asyncio.run(looks(url, files, given.rounds))
            print(f"  load {os.getloadavg()[0]:.1f}")
    finally:
        if cluster is not None:
            cluster.stop()
            shutil.rmtree(cluster.folder)
        if given.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
