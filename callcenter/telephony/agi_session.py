"""One call's FastAGI conversation: the commands of pyst2 (``asterisk.agi.AGI``), its faults mended in this one place.

``agi.AgiServer`` makes a session for each connection of Asterisk and hands it to the route of the call.
"""

import contextlib
import re
import select
import socket
import time
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar
from uuid import UUID

from asterisk.agi import AGI, AGIAppError, AGIError, AGIHangup, AGIInvalidCommand, AGIUsageError

ENVIRONMENT_SECONDS: Final = 5.0
"""Asterisk sends the whole environment at once; a peer that takes longer is not Asterisk."""
ENVIRONMENT_LINES: Final = 150
"""Asterisk sends about 25 lines and one for each argument."""
ENVIRONMENT_BYTES: Final = 32 * 1024
LINE_BYTES: Final = 64 * 1024
"""Longest line of a reply: a channel variable may be long, a flood may not."""
REPLY_LINES: Final = 300
"""Longest reply in lines (usage texts run to some 40)."""
COMMAND_BYTES: Final = 2000
"""res_agi reads a command into 2,048 bytes; a longer one would be taken as two and shift every later reply."""
PROMPT_SECONDS: Final = 120.0
"""Longest prompt, or application, that a route waits for unless it says otherwise."""
HANGUP_NOTICE_SECONDS: Final = 0.2
"""After ``result=-1`` Asterisk says HANGUP at once if the caller is gone; if not, only the command failed."""

_SAFE_WORD = re.compile(r"[A-Za-z0-9_./:#*@+=,-]+\Z")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"\Z', re.DOTALL)
_CODE = re.compile(r"(\d{3})([ -]|\Z)(.*)\Z", re.DOTALL)
_RESULT = re.compile(r"result=(\S*)[ \t]*(.*)\Z", re.DOTALL)
_CLOSED_DATA = re.compile(r"\)(?:\s+\w+=\S+)*\s*\Z")
_PAIR = re.compile(r"(\w+)=(\S+)")
_ARGUMENT = re.compile(r"agi_arg_([1-9]\d{0,2})\Z")
_UNIQUE_ID = re.compile(r"[A-Za-z0-9._-]{1,150}\Z")
E = TypeVar("E", bound=Exception)


class AgiHangup(AGIHangup):  # type: ignore[misc]
    """The caller is gone, or Asterisk is: nothing more can be asked of this call."""


class AgiTimeout(AGIError):  # type: ignore[misc]
    """Asterisk did not answer a command in time. The session is over: a late reply would answer the wrong question."""


class AgiProtocolError(AGIError):  # type: ignore[misc]
    """What came is not FastAGI, or the session is already over."""


class AgiCommandFailed(AGIAppError):  # type: ignore[misc]
    """Asterisk answered ``result=-1`` with the caller still there: a missing prompt, a failed application."""


class AgiBadValue(ValueError):
    """A value that cannot be told to Asterisk (control characters, over-long). Holds its place, never the value."""


class AgiSession(AGI):  # type: ignore[misc]
    """One call's conversation with Asterisk, on the call's own thread. Everything blocks, everything has a time limit.

    Faults of pyst2 0.5.1 ``asterisk/agi.py`` mended here:

    - 98: installs a SIGHUP handler, which only a main thread may; 99–122: dumps arguments and environment to stderr.
      ``__init__`` is replaced: a socket, no signals, no dumps, an environment with limits.
    - 125: ``_quote`` escapes nothing; 305, 320, 448, 493, 541, 559, 577, 693: arguments not quoted at all. Every
      argument passes ``send_command``, which quotes what is not one plain word and refuses control characters.
    - 166: writes str to what is a binary stream. Bytes go to the socket.
    - 173, 180: at end of file ``int("")`` raises ValueError; a HANGUP line likewise. Both are ``AgiHangup``.
    - 187: a variable whose value is "hangup" passes for a hang-up; 598 and 617 hand the word back as a value.
    - 204: a one-line 520 waits for ever for its end; 215: 511 (channel dead) is an unknown error. A reply is
      read as in FTP: code and hyphen begin it, code and space end it.
    - 183: a value with a newline shifts every later reply. Values run to their closing bracket, and whatever is left
      over before a command is sent ends the session.
    - 309 and its like: a time limit nowhere. Each command has one (``time_limit``).
    - 637: ``database_get`` quotes twice.
    """

    def __init__(self, connection: socket.socket, *, command_timeout: float = 10.0) -> None:
        self._socket = connection
        self._buffer = bytearray()
        self._limit = command_timeout
        self._over: str | None = None
        self.hung_up = False
        """True once Asterisk said so, or went away."""
        self.env: dict[str, str] = {}
        self.script = ""
        """The path of ``agi://host:port/path``, without its query."""
        self.args: list[str] = []
        """The arguments of the dialplan's AGI(), in order; untrusted text."""

    # -- the environment -------------------------------------------------------------------------------------------
    def read_environment(self, timeout: float = ENVIRONMENT_SECONDS) -> None:
        """Reads the lines before the first command. Raises AgiHangup, AgiTimeout, AgiProtocolError."""
        deadline = time.monotonic() + timeout
        size = 0
        for _ in range(ENVIRONMENT_LINES):
            line = self._read_line(deadline)
            size += len(line)
            if size > ENVIRONMENT_BYTES:
                raise self._end(AgiProtocolError(f"environment of more than {ENVIRONMENT_BYTES} bytes"))
            if not line.strip():
                break
            key, colon, value = line.partition(":")
            key = key.strip()
            if not colon or not key.startswith("agi_"):
                raise self._end(AgiProtocolError("environment line that is no agi_… variable"))
            if key in self.env:
                # A caller's name with a newline in it could give us arguments of the caller's own.
                raise self._end(AgiProtocolError("environment names a variable twice"))
            self.env[key] = value.strip()
        else:
            raise self._end(AgiProtocolError(f"environment of more than {ENVIRONMENT_LINES} lines"))
        if "agi_network_script" in self.env:
            path = self.env["agi_network_script"]
        else:
            path = self.env.get("agi_request", "").partition("://")[2].partition("/")[2]
        self.script = path.partition("?")[0].strip("/")
        numbered = {int(m[1]): value for key, value in self.env.items() if (m := _ARGUMENT.match(key))}
        self.args = [numbered.get(index, "") for index in range(1, max(numbered, default=0) + 1)]

    @property
    def unique_id(self) -> str:
        """Asterisk's unique id of the channel, empty when it is not of the form Asterisk makes."""
        value = self.env.get("agi_uniqueid", "")
        return value if _UNIQUE_ID.match(value) else ""

    def uuid_arg(self, index: int) -> UUID:
        """Argument ``index`` (from 0) as a UUID in its usual form. Raises AgiBadValue; the value is not repeated."""
        text = self.args[index] if index < len(self.args) else ""
        try:
            value = UUID(text)
        except ValueError:
            raise AgiBadValue(f"argument {index + 1} of {self.script} is no UUID") from None
        if str(value) != text.lower():
            raise AgiBadValue(f"argument {index + 1} of {self.script} is no UUID in its usual form")
        return value

    # -- commands and replies ----------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def time_limit(self, seconds: float) -> Iterator[None]:
        """Each command within has ``seconds`` to be answered."""
        before, self._limit = self._limit, seconds
        try:
            yield
        finally:
            self._limit = before

    def execute(self, command: str, *args: object) -> dict[str, tuple[str, str]]:
        """Sends a command and reads its reply: ``{"result": (value, data), …}``.

        Raises AgiHangup, AgiTimeout, AgiCommandFailed (result -1), AgiBadValue, AgiProtocolError, and pyst2's
        AGIInvalidCommand (510) and AGIUsageError (520).
        """
        self.test_hangup()
        deadline = time.monotonic() + self._limit
        self.send_command(command, *args, deadline=deadline)
        return self.get_result(deadline=deadline)

    def test_hangup(self) -> None:
        """Raises AgiHangup if the caller is gone, AgiProtocolError if unasked-for lines lie before the next command."""
        if self._over is not None:
            if self.hung_up:
                raise AgiHangup("the caller has hung up")
            raise AgiProtocolError(f"the session is over: {self._over}")
        while True:
            if b"\n" in self._buffer:
                if self._read_line(time.monotonic() + 1) == "HANGUP":
                    raise self._gone()
                raise self._end(AgiProtocolError("a line that no command asked for"))
            if not self._readable(0.0):
                return
            self._receive(time.monotonic() + 1)

    def send_command(self, command: str, *args: object, deadline: float | None = None) -> None:
        """Writes one command line; see ``execute``."""
        words = [command.strip(), *(self._word(arg) for arg in args)]
        line = " ".join(word for word in words if word)
        if not line or any(ord(char) < 32 or ord(char) == 127 for char in line):
            raise AgiBadValue(f"control characters in an argument of {command.split(maxsplit=2)[:2]}")
        try:
            data = line.encode() + b"\n"
        except UnicodeEncodeError:
            raise AgiBadValue(f"unpaired surrogate in an argument of {command.split(maxsplit=2)[:2]}") from None
        if len(data) > COMMAND_BYTES:
            raise AgiBadValue(f"command of {len(data)} bytes: Asterisk takes {COMMAND_BYTES}")
        self._socket.settimeout(self._left(deadline if deadline is not None else time.monotonic() + self._limit))
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise self._end(AgiTimeout("Asterisk does not read")) from None
        except OSError:
            raise self._gone() from None

    def get_variable(self, name: str) -> str:
        """A channel variable, "" when unset. Asterisk hands out its first 1,023 bytes, the rest is lost."""
        return str(super().get_variable(name))

    def get_result(self, stdin: object = None, *, deadline: float | None = None) -> dict[str, tuple[str, str]]:
        """Reads one reply; see ``execute``. ``stdin`` is pyst2's and unused."""
        deadline = deadline if deadline is not None else time.monotonic() + self._limit
        while True:
            line = self._read_line(deadline)
            if line == "HANGUP":
                raise self._gone()
            match = _CODE.match(line)
            if match is None:
                raise self._end(AgiProtocolError("a reply without a code"))
            code, more, text = match.groups()
            if not code.startswith("1"):  # 100 Trying…: the answer is yet to come
                break
        if more == "-":
            text = self._rest_of(code, text, deadline)
        if code == "200":
            return self._parsed(text, deadline)
        if code == "510":
            raise AGIInvalidCommand("Asterisk does not know the command")
        if code == "511":
            raise self._gone()
        if code == "520":
            raise AGIUsageError(text)
        raise self._end(AgiProtocolError(f"a reply with the unknown code {code}"))

    def _rest_of(self, code: str, text: str, deadline: float) -> str:
        lines = [text]
        for _ in range(REPLY_LINES):
            line = self._read_line(deadline)
            if line.startswith(f"{code} "):
                return "\n".join(lines)
            lines.append(line)
        raise self._end(AgiProtocolError(f"a reply of more than {REPLY_LINES} lines"))

    def _parsed(self, text: str, deadline: float) -> dict[str, tuple[str, str]]:
        result = {"result": ("", "")}
        match = _RESULT.match(text)
        if match is None:
            return result
        value, rest = match.groups()
        data = ""
        if rest.startswith("("):
            for _ in range(REPLY_LINES):
                if _CLOSED_DATA.search(rest):
                    break
                rest += "\n" + self._read_line(deadline)
            else:
                raise self._end(AgiProtocolError(f"a value of more than {REPLY_LINES} lines"))
            data, _, rest = rest[1:].rpartition(")")
        result["result"] = (value, data)
        result.update({key: (found, "") for key, found in _PAIR.findall(rest)})
        if value == "-1":
            self._await_hangup()
            raise AgiCommandFailed("Asterisk could not do it")
        return result

    def _await_hangup(self) -> None:
        """Tells a caller who hung up from a command that failed; both are ``result=-1``."""
        deadline = time.monotonic() + HANGUP_NOTICE_SECONDS
        while b"\n" not in self._buffer:
            if not self._readable(max(0.0, deadline - time.monotonic())):
                return
            self._receive(time.monotonic() + 1)
        self.test_hangup()

    def _quote(self, value: object) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise TypeError(f"Asterisk takes text and numbers, not {type(value).__name__}")
        return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'

    def _word(self, arg: object) -> str:
        """``arg`` as one word of a command; what ``_quote`` made stays as it is, an empty text is left out."""
        text = str(arg)
        if not text or _QUOTED.match(text) or _SAFE_WORD.match(text):
            return text
        return self._quote(text)

    # -- the socket ----------------------------------------------------------------------------------------------------
    def _left(self, deadline: float) -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            raise self._end(AgiTimeout("no answer from Asterisk in time"))
        return left

    def _readable(self, seconds: float) -> bool:
        poll = select.poll()  # select() itself stops at descriptor 1,023
        try:
            poll.register(self._socket, select.POLLIN)
        except (OSError, ValueError):  # closed by AgiServer.stop()
            raise self._gone() from None
        return bool(poll.poll(seconds * 1000))

    def _receive(self, deadline: float) -> None:
        self._socket.settimeout(self._left(deadline))
        try:
            data = self._socket.recv(16384)
        except TimeoutError:
            raise self._end(AgiTimeout("no answer from Asterisk in time")) from None
        except OSError:
            raise self._gone() from None
        if not data:
            raise self._gone()
        self._buffer += data

    def _read_line(self, deadline: float) -> str:
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > LINE_BYTES:
                raise self._end(AgiProtocolError(f"a line of more than {LINE_BYTES} bytes"))
            self._receive(deadline)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.rstrip(b"\r").decode("utf-8", "replace")

    def _gone(self) -> AgiHangup:
        self.hung_up = True
        return self._end(AgiHangup("the caller has hung up"))

    def _end(self, error: E) -> E:
        self._over = str(error)
        return error

    # -- what calls need -----------------------------------------------------------------------------------------------
    def play(self, *prompts: str, escape_digits: str = "", limit: float = PROMPT_SECONDS) -> str:
        """Plays prompts (names without extension) one after the other; returns the digit that cut in, or "".

        ``limit`` is for each prompt. Raises AgiCommandFailed for a prompt that Asterisk does not have.
        """
        for prompt in prompts:
            if digit := self.stream_file(prompt, escape_digits, limit=limit):
                return digit
        return ""

    def say_digit_prompts(self, digits: str, *, prefix: str = "digits/", escape_digits: str = "") -> str:
        """Plays ``prefix`` + each digit as a prompt of our own: one file a digit, Chinese telephone reading."""
        if not (digits.isascii() and digits.isdigit()):
            raise AgiBadValue("only the digits 0–9 can be said")
        return self.play(*(prefix + digit for digit in digits), escape_digits=escape_digits)

    def stream_file(
        self,
        filename: str,
        escape_digits: str | Sequence[object] = "",
        sample_offset: int = 0,
        *,
        limit: float = PROMPT_SECONDS,
    ) -> str:
        """As pyst2's, with a time limit in seconds that suits a prompt."""
        if isinstance(escape_digits, Sequence) and not isinstance(escape_digits, str):
            escape_digits = list(escape_digits)
        with self.time_limit(limit):
            return str(super().stream_file(filename, escape_digits, sample_offset))

    def pause(self, milliseconds: int) -> str:
        """Waits, hearing the caller; returns the digit that cut it short, or "". Raises AgiHangup."""
        if milliseconds <= 0:  # WAIT FOR DIGIT -1 would wait for ever
            self.test_hangup()
            return ""
        return self.wait_for_digit(milliseconds)

    def wait_for_digit(self, timeout: int = 2000) -> str:
        """As pyst2's: ``timeout`` in milliseconds; the command's own time limit comes on top."""
        with self.time_limit(self._limit + max(0, timeout) / 1000):
            return str(super().wait_for_digit(timeout))

    def appexec(self, application: str, options: str = "", *, limit: float = PROMPT_SECONDS) -> str:
        """As pyst2's: runs a dialplan application, for at most ``limit`` seconds."""
        with self.time_limit(limit):
            return str(super().appexec(application, options))

    def database_get(self, family: str, key: str) -> str:
        """The value in Asterisk's database, "" when there is none."""
        found, value = self.execute("DATABASE GET", self._quote(family), self._quote(key))["result"]
        return value if found == "1" else ""

    def is_up(self) -> bool:
        """True while the channel is answered and there."""
        return int(self.channel_status()) == 6

    def abort(self) -> None:
        """Ends the conversation from another thread: the session's own sees AgiHangup. The dialplan goes on."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # not close(): the descriptor may be in use, and would be reused

    def close(self) -> None:
        """Ends the conversation from its own thread; the dialplan goes on. Harmless when repeated."""
        self.abort()
        self._socket.close()
