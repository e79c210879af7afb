"""Databases for tests: SQLite in a temporary folder and a real PostgreSQL of our own, started once a session.

``db_url`` runs a test on both, each time on an empty, migrated database of its own; ``db`` is the connected Database.
``empty_url`` is the same without the migrations. PostgreSQL listens on a socket in its folder only.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest

from callcenter.storage.engine import Database
from callcenter.storage.migrate import migrate

_NUMBERS = count(1)


def _postgres_bin() -> Path | None:
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if installed:
        return installed[-1].parent
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


@dataclass
class Cluster:
    """A PostgreSQL cluster in ``folder``. It refuses to run as root, so under root it runs as ``postgres``."""

    bin: Path
    folder: Path
    durable: bool = False
    process: subprocess.Popen[bytes] | None = None

    def _as_owner(self, *command: str) -> list[str]:
        if os.geteuid() != 0:
            return list(command)
        # pdeathsig: a test run that is killed does not leave a server behind.
        owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--pdeathsig=SIGINT"]
        return [*owner, *command]

    def create(self) -> None:
        """initdb."""
        self.folder.chmod(0o700)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        subprocess.run(
            self._as_owner(
                str(self.bin / "initdb"),
                *("-D", str(self.folder / "data"), "-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8"),
                *(() if self.durable else ("--no-sync",)),
            ),
            check=True,
            capture_output=True,
            cwd="/",
        )

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "max_connections": "150",
            "shared_buffers": "64MB",
            # A test's database dies with the test.
            "fsync": "on" if self.durable else "off",
            "autovacuum": "off",
        }
        arguments = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._as_owner(str(self.bin / "postgres"), "-D", str(self.folder / "data"), *arguments),
                stdout=log,
                stderr=log,
                cwd="/",
            )
        deadline = time.monotonic() + 30
        while subprocess.run(
            [str(self.bin / "pg_isready"), "-q", "-h", str(self.folder), "-U", "postgres"], check=False
        ).returncode:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End the server: SIGINT breaks connections off and shuts down cleanly, SIGQUIT is a crash."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(timeout=30)
            self.process = None

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement through psql; gives what it prints."""
        done = subprocess.run(
            [
                *(str(self.bin / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"),
                *("-h", str(self.folder), "-U", "postgres", "-d", database, "-c", statement),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of one database of the cluster."""
        return f"postgresql+asyncpg://postgres@/{database}?host={self.folder}"


def new_cluster(*, durable: bool = False) -> Cluster:
    """A running cluster; skips nothing: without PostgreSQL the tests that need it fail and say what to install."""
    found = _postgres_bin()
    if found is None:
        raise RuntimeError("no PostgreSQL found: apt-get install postgresql")
    cluster = Cluster(found, Path(tempfile.mkdtemp(prefix="hotline-pg-")), durable)
    cluster.create()
    cluster.start()
    return cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """The session's PostgreSQL."""
    cluster = new_cluster()
    yield cluster
    cluster.stop()
    shutil.rmtree(cluster.folder)


@pytest.fixture(scope="session")
def migrated_templates() -> dict[str, str | Path]:
    """What has been migrated once already: a file to copy, a database to clone. Filled on first use."""
    return {}


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of its own, on each of the two kinds."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'callcenter.db'}"
        return
    cluster: Cluster = request.getfixturevalue("postgres")
    name = f"empty_{next(_NUMBERS)}"
    cluster.sql(f"CREATE DATABASE {name}")
    yield cluster.url(name)
    cluster.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
async def db_url(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    migrated_templates: dict[str, str | Path],
) -> AsyncIterator[str]:
    """The URL of a migrated database of its own, on each of the two kinds."""
    if request.param == "sqlite":
        if "sqlite" not in migrated_templates:
            template = tmp_path_factory.mktemp("template") / "callcenter.db"
            await migrate(f"sqlite+aiosqlite:///{template}")
            migrated_templates["sqlite"] = template
        shutil.copy(migrated_templates["sqlite"], tmp_path / "callcenter.db")
        yield f"sqlite+aiosqlite:///{tmp_path / 'callcenter.db'}"
        return
    async with _database_of_its_own(request.getfixturevalue("postgres"), migrated_templates) as url:
        yield url


@pytest.fixture
async def pg_db(postgres: Cluster, migrated_templates: dict[str, str | Path]) -> AsyncIterator[Database]:
    """The connected store on PostgreSQL, for what SQLite cannot show: two writers at once, a connection that is cut."""
    async with _database_of_its_own(postgres, migrated_templates) as url:
        database = Database(url)
        await database.connect()
        yield database
        await database.close()


@asynccontextmanager
async def _database_of_its_own(cluster: Cluster, templates: dict[str, str | Path]) -> AsyncIterator[str]:
    if "postgresql" not in templates:
        name = f"template_{uuid4().hex}"
        cluster.sql(f"CREATE DATABASE {name}")
        await migrate(cluster.url(name))
        templates["postgresql"] = name
    name = f"test_{next(_NUMBERS)}"
    cluster.sql(f"CREATE DATABASE {name} TEMPLATE {templates['postgresql']}")
    yield cluster.url(name)
    cluster.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def db(db_url: str) -> AsyncIterator[Database]:
    """The connected store on each of the two kinds."""
    database = Database(db_url)
    await database.connect()
    yield database
    await database.close()
