"""Where messages go: an HTTP gateway, or a file. Both are given the message's id as an idempotency key.

What a gateway is told is the number, the words and nothing about the case.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from hmac import new as hmac
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit
from uuid import UUID

import httpx

from callcenter.messages.policy import PolicyError
from callcenter.settings import Settings

SIGNATURE: Final = "X-Hotline-Signature"
TIMESTAMP: Final = "X-Hotline-Timestamp"
IDEMPOTENCY: Final = "Idempotency-Key"
"""As in the IETF's draft "The Idempotency-Key HTTP Header Field"."""
CONNECT_S: Final = 5.0
LONGEST_REF: Final = 80
LONGEST_ANSWER: Final = 65_536
LATER: Final = frozenset({408, 425, 429})
"""Answers of the 4xx that ask to come again (RFC 9110, RFC 8470, RFC 6585)."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message as a gateway gets it."""

    id: UUID
    """The idempotency key: the same message is sent again under the same id."""
    number: str
    words: str
    channel: str


class GatewayRefused(Exception):
    """The gateway will never take this message. ``code`` is a word for the message's reason, without its data."""

    def __init__(self, code: str) -> None:
        super().__init__(f"the gateway refuses the message: {code}")
        self.code = code


class GatewayDown(Exception):
    """The gateway cannot take it now: try again. The text holds a status or the kind of an error, no data."""


class Gateway(Protocol):
    """Sends messages. ``close()`` last."""

    async def send(self, message: Outgoing) -> str | None:
        """Hand the message over; gives the gateway's own reference, if it has one. Raises GatewayRefused, GatewayDown.

        May be called again with a message that was handed over before: it is not to be sent twice.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and files."""
        ...


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """``v1=`` and the HMAC-SHA-256 (hexadecimal) of timestamp, a full stop and the body: what a gateway checks.

    The timestamp (seconds since 1970, UTC) is signed too, so that a gateway can refuse what is replayed later.
    """
    return "v1=" + hmac(secret.encode(), timestamp.encode() + b"." + body, sha256).hexdigest()


class HttpGateway:
    """POSTs each message as JSON ``{"id", "channel", "to", "text"}``, signed. 2xx is a receipt; its JSON ``id`` or
    ``ref``, if any, is kept. 4xx (but for 408, 425, 429) refuses; all else, also a redirect, is tried again."""

    def __init__(self, url: str, secret: str, *, timeout_s: float = 10.0, now: Callable[[], float] = time.time) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise PolicyError("CALLCENTER_MESSAGE_GATEWAY is no http(s) address: https://host/path")
        if parts.username is not None or parts.password is not None:
            raise PolicyError("CALLCENTER_MESSAGE_GATEWAY holds a password: use CALLCENTER_MESSAGE_GATEWAY_SECRET")
        if not secret:
            raise PolicyError("CALLCENTER_MESSAGE_GATEWAY_SECRET is empty: an HTTP gateway needs it, see docs")
        self._url = url
        self._secret = secret
        self._now = now
        self._limit_s = timeout_s
        # trust_env False: a proxy that somebody set for the machine must not get citizens' numbers.
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)), trust_env=False, follow_redirects=False
        )

    async def send(self, message: Outgoing) -> str | None:
        """See Gateway."""
        content = {"id": str(message.id), "channel": message.channel, "to": message.number, "text": message.words}
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        timestamp = str(int(self._now()))
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            IDEMPOTENCY: str(message.id),
            TIMESTAMP: timestamp,
            SIGNATURE: signature(self._secret, timestamp, body),
        }
        try:
            # httpx's limits are for each read: an answer that trickles would hold a job for as long as it likes.
            async with asyncio.timeout(self._limit_s):
                async with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
                    status = answer.status_code
                    read = await _read(answer) if answer.is_success else b""
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            raise GatewayDown(type(error).__name__) from None  # the error's own text may hold the request
        if 200 <= status < 300:
            return _reference(read)
        if 400 <= status < 500 and status not in LATER:
            raise GatewayRefused(f"gateway_{status}")
        raise GatewayDown(f"status_{status}")

    async def close(self) -> None:
        """See Gateway."""
        await self._client.aclose()


async def _read(answer: httpx.Response) -> bytes:
    read = b""
    async for part in answer.aiter_bytes():
        read += part
        if len(read) > LONGEST_ANSWER:
            break
    return read


def _reference(body: bytes) -> str | None:
    """The gateway's own id of the message; None when its answer has none that can be read."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    found = answer.get("ref", answer.get("id"))
    return str(found)[:LONGEST_REF] if isinstance(found, str | int) and not isinstance(found, bool) else None


class FileGateway:
    """Appends each message as a line of JSON and syncs it: for a gateway that reads files, and for trying things out.

    A message that is in the file already is not written again; a last line that a crash cut short is taken away. One
    process writes a file. It holds numbers and words in the clear (mode 0600): whoever collects it erases it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: set[str] | None = None
        self._lock = asyncio.Lock()

    async def send(self, message: Outgoing) -> str | None:
        """See Gateway."""
        async with self._lock:
            try:
                await asyncio.to_thread(self._append, message)
            except OSError as error:
                raise GatewayDown(f"file_{error.errno}") from None
        return str(message.id)

    async def close(self) -> None:
        """See Gateway."""

    def _append(self, message: Outgoing) -> None:
        if self._written is None:
            self._written = self._mend()
        key = str(message.id)
        if key in self._written:
            return
        line = {"id": key, "channel": message.channel, "to": message.number, "text": message.words}
        data = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            before = os.fstat(file).st_size
            try:
                if os.write(file, data) != len(data):
                    raise OSError(28, "only a part was written")  # ENOSPC
                os.fsync(file)
            except OSError:
                os.ftruncate(file, before)
                raise
        finally:
            os.close(file)
        self._written.add(key)

    def _mend(self) -> set[str]:
        """The ids in the file, once its last line is whole."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not self._path.exists():
            return set()
        data = self._path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) != len(data):
            os.truncate(self._path, len(whole))
        found = set()
        for line in whole.splitlines():
            with_id = json.loads(line) if line.startswith(b"{") else {}
            found.add(str(with_id.get("id", "")))
        return found


def gateway_of(settings: Settings) -> Gateway | None:
    """The gateway that the settings name; None: none. Raises PolicyError naming the setting and the mend."""
    where = settings.message_gateway
    if not where:
        return None
    if where == "file":
        return FileGateway(settings.data_dir / "messages" / "outgoing.jsonl")
    if where.startswith("file:"):
        path = Path(where.removeprefix("file:").removeprefix("//")).expanduser()
        if not path.is_absolute():
            raise PolicyError("CALLCENTER_MESSAGE_GATEWAY names a file that is not absolute: file:/path/to/file.jsonl")
        return FileGateway(path)
    secret = settings.message_gateway_secret.get_secret_value()
    return HttpGateway(where, secret, timeout_s=settings.message_gateway_timeout_s)
