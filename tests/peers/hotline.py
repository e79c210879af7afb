"""A whole hotline as its users have it: ``callcenter serve`` in a process of its own, driven through its doors.

Used by the end-to-end tests and by ``scripts/run --demo``: nothing in here reaches into the process.
"""

import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

REPOSITORY = Path(__file__).resolve().parents[2]
READY_WITHIN_S = 60.0


class HotlineFault(RuntimeError):
    """The hotline did not do what was asked; the message carries the end of its log."""


@dataclass
class Hotline:
    """One hotline. ``data_dir`` holds all it keeps; ``env`` are ``CALLCENTER_*`` settings."""

    data_dir: Path
    env: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    base_url: str = ""
    sip_host: str = ""
    sip_port: int = 0
    setup_path: str = ""
    password: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    api_key: str = ""
    _cookies: dict[str, httpx.Cookies] = field(default_factory=dict)

    @property
    def log_path(self) -> Path:
        """The process's stderr: its log."""
        return self.data_dir / "serve.log"

    def start(self) -> "Hotline":
        """Start the process and wait until it says it is ready. Raises HotlineFault with the end of its log."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        out = (self.data_dir / "serve.out").open("w+")
        with self.log_path.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "callcenter", "serve"],
                stdout=out,
                stderr=log,
                text=True,
                env=self._environment(),
                cwd=REPOSITORY,
                start_new_session=True,
            )
        deadline = time.monotonic() + READY_WITHIN_S
        while True:
            said = (self.data_dir / "serve.out").read_text()
            if re.search(r"^ready$", said, re.M):
                break
            if self.process.poll() is not None:
                raise HotlineFault(f"callcenter serve ended with {self.process.returncode}:\n{self.tail()}")
            if time.monotonic() > deadline:
                raise HotlineFault(f"callcenter serve is not ready after {READY_WITHIN_S:.0f} s:\n{self.tail()}")
            time.sleep(0.05)
        out.close()
        if found := re.search(r"^API\s+(http://\S+)/docs$", said, re.M):
            self.base_url = found[1]
        if found := re.search(r"^line\s+sip:([\d.]+):(\d+)", said, re.M):
            self.sip_host, self.sip_port = found[1], int(found[2])
        if found := re.search(r"(/setup\?token=\S+)", said):
            self.setup_path = found[1]
        return self

    def _environment(self) -> dict[str, str]:
        env = {name: value for name, value in os.environ.items() if not name.startswith("CALLCENTER_")}
        return env | {
            "CALLCENTER_DATA_DIR": str(self.data_dir),
            "CALLCENTER_HTTP_PORT": "0",
            "PYTHONUNBUFFERED": "1",
            "OMP_NUM_THREADS": "1",
            **self.env,
        }

    def command(self, *arguments: str) -> str:
        """What ``callcenter …`` writes, on this hotline's data. Raises HotlineFault when it fails."""
        done = subprocess.run(
            [sys.executable, "-m", "callcenter", *arguments],
            capture_output=True,
            text=True,
            env=self._environment(),
            cwd=REPOSITORY,
            check=False,
        )
        if done.returncode:
            raise HotlineFault(f"callcenter {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def tail(self, lines: int = 30) -> str:
        """The end of the log."""
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def kill(self) -> None:
        """SIGKILL the main process, as a crash would. Asterisk lives on; the compute child ends by itself."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """End it as an operator would, and Asterisk too should it have been left behind by ``kill``."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
        pid = self.asterisk_pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)

    def asterisk_pid(self) -> int | None:
        """Asterisk's process, if it is running; only ever the one this hotline started."""
        try:
            state = json.loads((self.data_dir / "run" / "asterisk.json").read_text())
            pid = int(state["pid"])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError, KeyError):
            return None
        return pid if str(self.data_dir).encode() in command else None

    def agents(self) -> dict[str, str]:
        """SIP passwords of the agents' telephones by extension, as an administrator reads them to set those up."""
        state = json.loads((self.data_dir / "run" / "asterisk.json").read_text())
        return dict(state["agents"])

    # -- through the HTTP door ------------------------------------------------------------------------------------

    def client(self) -> httpx.Client:
        """An HTTP client of the API that shows the dispatch side's key."""
        headers = {"Authorization": f"Bearer {self.api_key}"} if self.api_key else {}
        return httpx.Client(base_url=self.base_url, headers=headers, timeout=30)

    @contextmanager
    def signed_in(self, username: str = "admin") -> Iterator[httpx.Client]:
        """A client with a signed-in person's session, kept for the next time."""
        with httpx.Client(base_url=self.base_url, headers={"Origin": self.base_url}, timeout=30) as client:
            if username in self._cookies:
                client.cookies = self._cookies[username]
            else:
                answer = client.post("/api/v1/session", json={"username": username, "password": self.password})
                answer.raise_for_status()
                self._cookies[username] = client.cookies
            yield client

    def set_up(self) -> "Hotline":
        """Take the one-time link, make the administrator and a key for a dispatch system."""
        if not self.setup_path:
            raise HotlineFault("no administrator link was printed: this hotline was set up before")
        token = self.setup_path.split("token=", 1)[1]
        with httpx.Client(base_url=self.base_url, headers={"Origin": self.base_url}, timeout=30) as client:
            client.post(
                "/api/v1/setup",
                json={"token": token, "username": "admin", "display_name": "管理员", "password": self.password},
            ).raise_for_status()
        with self.signed_in() as client:
            made = client.post("/api/v1/keys", json={"label": "dispatch system", "role": "dispatcher"})
            made.raise_for_status()
            self.api_key = made.json()["key"]
        return self

    def add_user(self, username: str, roles: list[str], extension: str = "") -> None:
        """Another person, with the same password as everybody in a test."""
        with self.signed_in() as client:
            client.post(
                "/api/v1/users",
                json={
                    "username": username,
                    "display_name": username,
                    "password": self.password,
                    "roles": roles,
                    "extension": extension,
                },
            ).raise_for_status()

    def get(self, path: str, **params: Any) -> Any:
        """JSON of ``path``, as the administrator sees it."""
        with self.signed_in() as client:
            answer = client.get(path, params=params)
            answer.raise_for_status()
            return answer.json()

    def calls(self) -> list[dict[str, Any]]:
        """All calls, newest first."""
        return list(self.get("/api/v1/calls", limit=200)["items"])

    def until(self, what: str, probe: Callable[[], Any], within_s: float = 20.0) -> Any:
        """Ask ``probe`` until it answers something true. Raises HotlineFault naming ``what``."""
        deadline = time.monotonic() + within_s
        while True:
            answer = probe()
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise HotlineFault(f"not within {within_s:.0f} s: {what}\n{self.tail()}")
            time.sleep(0.2)
