"""One FastAGI conversation: what is written, and every kind of reply, over a socket pair."""

import socket
import threading
import time

import pytest
from asterisk.agi import AGIInvalidCommand, AGIUsageError

from callcenter.telephony.agi import (
    AgiBadValue,
    AgiCommandFailed,
    AgiHangup,
    AgiProtocolError,
    AgiSession,
    AgiTimeout,
)

pytestmark = pytest.mark.unit


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    session = AgiSession(ours, command_timeout=0.5)
    yield session, theirs
    session.close()
    theirs.close()


def answer(peer: socket.socket, reply: bytes) -> list[bytes]:
    """Reads one command line, then sends ``reply``; returns the list that will hold the line."""
    lines: list[bytes] = []

    def run() -> None:
        line = b""
        while not line.endswith(b"\n"):
            line += peer.recv(1)
        lines.append(line)
        peer.sendall(reply)

    threading.Thread(target=run, daemon=True).start()
    return lines


ENVIRONMENT = (
    b"agi_network: yes\nagi_network_script: incoming?x=1&y=2\nagi_request: agi://127.0.0.1:4573/incoming?x=1&y=2\n"
    b"agi_channel: PJSIP/trunk-00000001\nagi_uniqueid: 1763672400.7\nagi_calleridname: \xe5\xbc\xa0: \xe4\xb8\x89\n"
    b"agi_arg_1: 6a5d2b6e-8d53-4a3f-9a0e-0c8d2f7a1b11\nagi_arg_2: \nagi_arg_3: 13800138000\n\n"
)


def test_environment_script_without_its_query_and_arguments_with_empty_ones(pair):
    session, peer = pair
    peer.sendall(ENVIRONMENT)
    session.read_environment()
    assert session.script == "incoming"
    assert session.args == ["6a5d2b6e-8d53-4a3f-9a0e-0c8d2f7a1b11", "", "13800138000"]
    assert session.env["agi_calleridname"] == "张: 三"
    assert session.unique_id == "1763672400.7"
    assert str(session.uuid_arg(0)) == session.args[0]
    for index in (1, 2, 9):
        with pytest.raises(AgiBadValue) as caught:
            session.uuid_arg(index)
        assert "138" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        b"GET / HTTP/1.1\n\n",
        b"agi_arg_1: a\nagi_arg_1: forged\n\n",
        b"agi_x" + b"y" * 40_000 + b": 1\n\n",
        b"agi_a: " + b"z" * 80_000,
        b"".join(b"agi_a%d: 1\n" % n for n in range(400)),
        b"\xff\xfe\x00garbage\n",
    ],
)
def test_an_environment_that_is_not_asterisks_is_refused(pair, text):
    session, peer = pair
    threading.Thread(target=peer.sendall, args=(text,), daemon=True).start()
    with pytest.raises(AgiProtocolError):
        session.read_environment(2)


def test_a_slow_environment_is_given_up_on_the_whole_and_not_each_byte(pair):
    session, peer = pair
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(0.05):
            try:
                peer.sendall(b"a")
            except OSError:
                return

    thread = threading.Thread(target=drip)
    thread.start()
    started = time.monotonic()
    with pytest.raises(AgiTimeout):
        session.read_environment(0.4)
    assert time.monotonic() - started < 1
    stop.set()
    thread.join()


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("plain", b'SET VARIABLE "V" "plain"\n'),
        ("a b", b'SET VARIABLE "V" "a b"\n'),
        ('say "hi" \\ there', b'SET VARIABLE "V" "say \\"hi\\" \\\\ there"\n'),
        ("", b'SET VARIABLE "V" ""\n'),
        ("中文", 'SET VARIABLE "V" "中文"\n'.encode()),
        (7, b'SET VARIABLE "V" "7"\n'),
    ],
)
def test_values_are_quoted_so_that_asterisk_reads_them_back(pair, value, line):
    session, peer = pair
    lines = answer(peer, b"200 result=1\n")
    session.set_variable("V", value)
    assert lines == [line]


@pytest.mark.parametrize("value", ["a\nHANGUP", "a\rb", "a\0b", "tab\t", "\ud800", "x" * 3000])
def test_values_that_would_be_another_command_are_refused_unsent(pair, value):
    session, peer = pair
    for call in (lambda: session.set_variable("V", value), lambda: session.stream_file(value)):
        with pytest.raises(AgiBadValue) as caught:
            call()
        assert value not in str(caught.value)
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(1)


@pytest.mark.parametrize("value", [None, True, b"x"])
def test_values_of_no_text_are_refused(pair, value):
    with pytest.raises(TypeError):
        pair[0].set_variable("V", value)


def test_a_file_name_with_a_space_stays_one_argument(pair):
    session, peer = pair
    lines = answer(peer, b"200 result=0 endpos=800\n")
    assert session.stream_file("hotline/a b", "#") == ""
    assert lines == [b'STREAM FILE "hotline/a b" "#" 0\n']


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        (b"200 result=1 (plain)\n", "plain"),
        (b"200 result=1 (with (brackets) in)\n", "with (brackets) in"),
        (b"200 result=1 (a=b c=d)\n", "a=b c=d"),
        (b"200 result=1 (hangup)\n", "hangup"),
        (b"200 result=1 ()\n", ""),
        (b"200 result=0\n", ""),
        (b"200 result=1 (two\nlines)\n", "two\nlines"),
        ("200 result=1 (中文)\n".encode(), "中文"),
        (b"200 result=1 (\xff)\r\n", "\ufffd"),
        (b"100 result=0 Trying...\n200 result=1 (late)\n", "late"),
    ],
)
def test_variables_come_back_as_they_are(pair, reply, value):
    session, peer = pair
    answer(peer, reply)
    assert session.get_variable("V") == value


def test_a_reply_byte_by_byte_and_the_next_command_in_step(pair):
    session, peer = pair
    for expected in ("one", "two"):
        lines: list[bytes] = []

        def drip(text: bytes = f"200 result=1 ({expected})\n".encode(), lines: list[bytes] = lines) -> None:
            lines.append(peer.recv(100))
            for byte in text:
                peer.sendall(bytes((byte,)))
                time.sleep(0.005)

        threading.Thread(target=drip, daemon=True).start()
        assert session.get_variable("V") == expected


def test_digits_end_prompts_and_pauses(pair):
    session, peer = pair
    lines = answer(peer, b"200 result=53 endpos=160\n")
    assert session.play("a", "b", escape_digits="5") == "5"
    assert lines == [b'STREAM FILE a "5" 0\n']
    answer(peer, b"200 result=0\n")
    assert session.pause(100) == ""
    lines = answer(peer, b"200 result=35\n")
    assert session.pause(100) == "#"
    assert lines == [b"WAIT FOR DIGIT 100\n"]
    assert session.pause(0) == ""


def test_a_pause_may_last_longer_than_a_command(pair):
    session, peer = pair
    threading.Timer(0.8, peer.sendall, (b"200 result=0\n",)).start()
    assert session.pause(900) == ""


def test_digits_are_said_by_prompts(pair):
    session, peer = pair
    said: list[bytes] = []

    def asterisk() -> None:
        for _ in range(2):
            said.append(peer.recv(200))
            peer.sendall(b"200 result=0 endpos=1\n")

    threading.Thread(target=asterisk, daemon=True).start()
    assert session.say_digit_prompts("07", prefix="hotline/") == ""
    assert said == [b'STREAM FILE hotline/0 "" 0\n', b'STREAM FILE hotline/7 "" 0\n']
    with pytest.raises(AgiBadValue):
        session.say_digit_prompts("１2", prefix="hotline/")


@pytest.mark.parametrize(
    "reply",
    [
        b"",  # end of file
        b"HANGUP\n",
        b"511 Command Not Permitted on a dead channel or intercept routine\n",
        b"200 result=-1 endpos=480\nHANGUP\n",
        b"200 res",
    ],
)
def test_a_hang_up_in_each_of_its_forms(pair, reply):
    session, peer = pair

    def asterisk() -> None:
        peer.recv(200)
        peer.sendall(reply)
        if not reply.endswith(b"\n"):
            peer.close()

    threading.Thread(target=asterisk, daemon=True).start()
    with pytest.raises(AgiHangup):
        session.stream_file("a")
    assert session.hung_up
    with pytest.raises(AgiHangup):
        session.get_variable("V")


def test_a_hang_up_between_commands(pair):
    session, peer = pair
    peer.sendall(b"HANGUP\n")
    with pytest.raises(AgiHangup):
        session.set_variable("V", "x")


def test_a_hang_up_by_going_away_between_commands(pair):
    session, peer = pair
    peer.close()
    with pytest.raises(AgiHangup):
        session.set_variable("V", "x")


def test_a_command_that_fails_is_no_hang_up(pair):
    session, peer = pair
    answer(peer, b"200 result=-1 endpos=0\n")
    with pytest.raises(AgiCommandFailed):
        session.stream_file("missing")
    answer(peer, b"200 result=6\n")
    assert session.is_up()


def test_unknown_commands_and_usage_texts_keep_the_conversation_in_step(pair):
    session, peer = pair
    answer(peer, b"510 Invalid or unknown command\n")
    with pytest.raises(AGIInvalidCommand):
        session.execute("NO SUCH")
    usage = b"Usage: X\n\n 520 is not the end\n"
    usage = b"520-Invalid command syntax.  Proper usage follows:\n" + usage + b"520 End of proper usage.\n"
    answer(peer, usage)
    with pytest.raises(AGIUsageError, match="Usage: X"):
        session.execute("SET VARIABLE")
    answer(peer, b"520 Invalid command syntax.  Proper usage not available.\n")
    with pytest.raises(AGIUsageError):
        session.execute("SET VARIABLE")
    answer(peer, b"200 result=1 (in step)\n")
    assert session.get_variable("V") == "in step"


def test_a_late_reply_never_answers_the_next_question(pair):
    session, peer = pair
    with pytest.raises(AgiTimeout), session.time_limit(0.1):
        session.get_variable("A")
    peer.sendall(b"200 result=1 (answer to A)\n")
    with pytest.raises(AgiProtocolError):
        session.get_variable("B")


def test_lines_nobody_asked_for_end_the_session(pair):
    session, peer = pair
    peer.sendall(b"200 result=1 (unasked)\n")
    with pytest.raises(AgiProtocolError):
        session.get_variable("V")


@pytest.mark.parametrize(
    "reply",
    [b"what\n", b"\xff\xff\xff\n", b"999 no such code\n", b"2\n", b"z" * 70_000, b"520-x\n" + b"more\n" * 400],
)
def test_replies_that_cannot_be_end_the_session(pair, reply):
    session, peer = pair
    answer(peer, reply)
    with pytest.raises(AgiProtocolError):
        session.get_variable("V")
    with pytest.raises(AgiProtocolError):
        session.get_variable("V")


def test_asterisk_that_reads_nothing_is_given_up(pair):
    session, _ = pair

    def fill() -> None:
        for _ in range(10_000):
            session.send_command("NOOP", "x" * 1000)

    with session.time_limit(0.2), pytest.raises(AgiTimeout):
        fill()


def test_a_session_works_off_the_main_thread_and_writes_nothing_to_stderr(pair, capfd):
    session, peer = pair
    found: list[str] = []

    def run() -> None:
        session.read_environment()
        found.append(session.get_variable("V"))

    thread = threading.Thread(target=run)
    peer.sendall(ENVIRONMENT)
    answer(peer, b"200 result=1 (yes)\n")
    thread.start()
    thread.join(3)
    assert found == ["yes"]
    assert capfd.readouterr() == ("", "")
