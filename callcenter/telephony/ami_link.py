"""One connection to Asterisk's AMI: panoramisk's Manager and its protocol, their faults mended in this one place.

``ami.AmiClient`` makes one ``Link`` after the other and watches over them.
"""

import asyncio
import codecs
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from panoramisk.actions import Action
from panoramisk.ami_protocol import AMIProtocol
from panoramisk.manager import Manager
from panoramisk.message import Message

log = structlog.get_logger()

UNFINISHED_BYTES: Final = 1024 * 1024
"""Longest message; longer ones are not AMI."""
LINE_BYTES: Final = 1000
"""Asterisk reads a line of AMI into 1,025 bytes and drops a longer one without a word."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*\Z")
# panoramisk logs whole messages and actions, numbers and all (ami_protocol.py:69 and 110): nothing of it may come out.
_SILENT = logging.getLogger("callcenter.telephony.ami.silenced")
_SILENT.disabled = True


class AmiError(Exception):
    """Anything that went wrong with AMI."""


class AmiConnectionLost(AmiError):
    """There is no connection, or it died with the action under way. Whether Asterisk did it is unknown; we never send
    an action again by ourselves."""


class AmiTimeout(AmiError):
    """No answer in time. Whether Asterisk did it is unknown."""


class AmiRefused(AmiError):
    """The login was refused."""


class AmiBadValue(ValueError):
    """An action that must not be sent. Names the header, never the value."""


@dataclass(frozen=True, slots=True)
class AmiMessage:
    """One message of Asterisk: headers by lower-case name, each with its values in order."""

    headers: Mapping[str, tuple[str, ...]]

    def get(self, name: str, default: str = "") -> str:
        """The first value of a header."""
        values = self.headers.get(name.lower())
        return values[0] if values else default

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of a header."""
        return self.headers.get(name.lower(), ())

    @property
    def event(self) -> str:
        """The event's name, "" for a response."""
        return self.get("event")

    @property
    def success(self) -> bool:
        """False for a response that is an error."""
        return bool(self.event) or self.get("response") in ("Success", "Follows", "Goodbye")

    @property
    def text(self) -> str:
        """Asterisk's own words."""
        return self.get("message")

    @classmethod
    def of(cls, message: Message) -> "AmiMessage":
        """From panoramisk's."""
        headers: dict[str, tuple[str, ...]] = {}
        for name, value in message.items():
            if name == "content" and not value:
                continue
            headers[name.lower()] = tuple(map(str, value)) if isinstance(value, list) else (str(value),)
        return cls(headers)


class _Protocol(AMIProtocol):  # type: ignore[misc]
    """Mends of panoramisk 1.4 ``ami_protocol.py``: 41 decodes each segment by itself and drops a character cut in two;
    62 lets an unfinished message grow for ever; 68–87: one message it cannot digest (a header given twice is a list)
    drops the connection."""

    def __init__(self, link: "Link") -> None:
        self._link = link
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.factory = self._link  # manager.py:79 sets it a turn of the loop later
        self.log = _SILENT
        self.encoding = "utf-8"

    def data_received(self, data: bytes) -> None:
        self._link.heard = self._link.loop.time()
        super().data_received(self._decoder.decode(data).encode())
        if self.queue and len(self.queue[0]) > UNFINISHED_BYTES:
            self._link.count("oversize")
            self.transport.abort()

    def handle_message(self, message: Message) -> None:
        try:
            super().handle_message(message)
        except (AttributeError, TypeError, ValueError, KeyError, IndexError) as error:
            self._link.count("indigestible")
            log.warning("ami message skipped", error=type(error).__name__)


class Link(Manager):  # type: ignore[misc]
    """One connection. Mends of panoramisk 1.4 ``manager.py``: 72, 283: reconnects by itself for ever, also after
    ``close()`` and with a wrong password; 107: a ping nobody waits for; 111: sends actions again on FullyBooted;
    261: a callback that raises drops the connection."""

    pinger: Any

    def __init__(
        self, host: str, port: int, on_event: Callable[[AmiMessage], None], count: Callable[[str], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        super().__init__(
            host=host, port=port, encoding="utf-8", loop=loop, log=_SILENT, protocol_factory=lambda: _Protocol(self)
        )
        self.count = count
        self.lost: asyncio.Future[None] = loop.create_future()
        self.heard = loop.time()
        self._on_event = on_event

    def connection_made(self, f: "asyncio.Future[Any]") -> None:
        if f.cancelled() or f.exception() is not None:
            return  # whoever awaits the connection knows
        super().connection_made(f)
        self.pinger.cancel()  # ours waits for the answer
        self.pinger = None

    def connection_lost(self, exc: object) -> None:
        if not self.lost.done():
            self.lost.set_result(None)

    def dispatch(self, event: Message) -> list[str]:
        self._on_event(AmiMessage.of(event))
        return []

    def cut(self) -> None:
        """Ends the connection at once."""
        super().close()
        if self.protocol is not None:
            self.protocol.transport.abort()  # close() alone waits for a dead peer to take what is buffered
        self.connection_lost(None)

    async def ask(self, fields: Mapping[str, str | Sequence[str]], limit: float) -> list[AmiMessage]:
        """Sends one action, once; see ``AmiClient.action``."""
        if self.lost.done() or self.protocol is None:
            raise AmiConnectionLost("no connection to Asterisk's AMI")
        action = Action({name: value if isinstance(value, str) else list(value) for name, value in fields.items()})
        answer: asyncio.Future[Any] = self.send_action(action)
        try:
            await asyncio.wait({answer, self.lost}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.protocol.responses.pop(action.id, None)  # nobody waits for it any more
        if answer.done():
            found = answer.result()
            return [AmiMessage.of(message) for message in (found if isinstance(found, list) else [found])]
        if self.lost.done():
            raise AmiConnectionLost(f"the connection to Asterisk's AMI died during {fields['Action']}")
        raise AmiTimeout(f"no answer to AMI's {fields['Action']} within {limit:g} s")


def check(fields: Mapping[str, str | Sequence[str]]) -> None:
    """Raises AmiBadValue for what would be another line, or action, than was meant (panoramisk actions.py:49 joins
    lines unseen), or what Asterisk would drop."""
    names = [name.lower() for name in fields]
    if "Action" not in fields:
        raise AmiBadValue('an action needs the header "Action"')
    if len(set(names)) != len(names) or "actionid" in names:
        raise AmiBadValue("an action names each header once, and never ActionID, which is ours")
    for name, value in fields.items():
        if not _NAME.match(name):
            raise AmiBadValue("a header's name is letters, digits, - and _")
        for one in value if isinstance(value, list | tuple) else [value]:
            if not isinstance(one, str):
                raise AmiBadValue(f"the value of {name} is no text")
            if any(ord(char) < 32 or ord(char) == 127 for char in one):
                raise AmiBadValue(f"the value of {name} holds control characters")
            try:
                size = len(name) + 2 + len(one.encode())
            except UnicodeEncodeError:
                raise AmiBadValue(f"the value of {name} holds an unpaired surrogate") from None
            if size > LINE_BYTES:
                raise AmiBadValue(f"the value of {name} is too long: Asterisk takes lines of {LINE_BYTES} bytes")
