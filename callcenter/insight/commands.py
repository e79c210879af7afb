"""What ``callcenter learning export | check`` do; figures to stdout, what the user must mend raised as ValueError."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from callcenter.insight import learning
from callcenter.settings import Settings
from callcenter.storage.engine import Database


def export(settings: Settings, out: Path, out_stream: TextIO) -> int:
    """Write what people decided as training rows to ``out``."""
    if out.is_dir() or not out.absolute().parent.is_dir():
        raise ValueError(f"--out {out}: name a file in a folder that exists")

    async def work() -> learning.Exported:
        database = Database(settings.store_url)
        await database.connect()
        try:
            await database.check_current()
            async with database.read() as session:
                return await learning.export(session, out)
        finally:
            await database.close()

    told = asyncio.run(work())
    out_stream.write(f"{out}: {told.rows} rows\n")
    for why, count in told.left_out.most_common():
        out_stream.write(f"  left out, {why}: {count}\n")
    out_stream.write(f"train on them: callcenter train --with {out}; then delete the file, it holds citizens' words\n")
    return 0


def check(settings: Settings, files: Sequence[Path], out_stream: TextIO) -> int:
    """Name the versions that learned from cases erased since, and take such rows out of ``files``. 1 when a version
    must be trained anew."""

    async def work() -> tuple[dict[str, int], dict[Path, int]]:
        database = Database(settings.store_url)
        await database.connect()
        try:
            await database.check_current()
            async with database.read() as session:
                found = await learning.stale(session, settings.models_dir / "router")
                taken = {file: await learning.scrub(session, file) for file in files}
            return {name: len(cases) for name, cases in found.items()}, taken
        finally:
            await database.close()

    found, taken = asyncio.run(work())
    for file, count in taken.items():
        out_stream.write(f"{file}: {count} rows of erased calls taken out\n")
    for name, count in found.items():
        out_stream.write(f"{name}: trained on {count} cases erased since: export, train anew, delete this version\n")
    if not found:
        out_stream.write("no version was trained on a case erased since\n")
    return 1 if found else 0


def remember_trained(settings_folder: Path, before: Sequence[str], after: Sequence[str], files: Sequence[Path]) -> None:
    """After a training: note in the new version's folder which cases of ``files`` it has learned from."""
    cases = learning.cases_in(files)
    for name in sorted(set(after) - set(before)):
        if cases:
            learning.remember(settings_folder / name, cases)
