"""Messages: told once, never where they would give somebody away, and handed over until the gateway has them."""

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, update

from callcenter.cases.life import CaseDeadline
from callcenter.cases.model import Case, CaseParticulars
from callcenter.cases.sheets import MESSAGE_UNIT
from callcenter.cases.supervision import sweep
from callcenter.city.model import Unit
from callcenter.jobs.model import Job
from callcenter.jobs.runner import Runner
from callcenter.jobs.store import Backoff, add_job
from callcenter.messages import sending, telling
from callcenter.messages.gateways import (
    IDEMPOTENCY,
    SIGNATURE,
    TIMESTAMP,
    FileGateway,
    Gateway,
    GatewayDown,
    GatewayRefused,
    HttpGateway,
    Outgoing,
    gateway_of,
    signature,
)
from callcenter.messages.model import Message, MessageParticulars
from callcenter.messages.policy import Policy, PolicyError
from callcenter.messages.telling import SEND, tell
from callcenter.messages.templates import TemplateError
from callcenter.settings import Settings
from callcenter.storage.engine import Database
from callcenter.storage.outbox import OutboxEvent
from tests.integration.test_supervision import AT, Late, a_unit, rows, write

pytestmark = pytest.mark.integration

NUMBER = "13800138000"
CASE = "2026112000001"
POLICY = Policy(key=b"k" * 32)


async def a_case(db: Database, *, particulars: dict[str, Any] | None = None, **more: Any) -> UUID:
    id = uuid4()
    values: dict[str, Any] = {
        "id": id,
        "number": None,
        "source": "phone",
        "state": "reported",
        "disposition": "case",
        "decision": "auto",
        "emergency": [],
        "secrecy": False,
        "version": 1,
        "created_at": AT,
        **more,
    }
    known = {"reporter_number": NUMBER, "reporter_name": "张三", **(particulars or {})}
    async with db.begin() as session:
        session.add(Case(**values))
        await session.flush()
        session.add(CaseParticulars(case_id=id, **known))
    return id


async def told(
    db: Database, case: UUID, template: str = "accepted", *, at: datetime = AT, policy: Policy = POLICY, **more: Any
) -> Message:
    more = {"milestone": template, **more}
    async with db.begin() as session:
        found = await session.get_one(Case, case)
        if found.number is None:
            found.number = (
                CASE if not await session.scalar(select(Case.id).where(Case.number == CASE)) else str(case)[:20]
            )
        message = await tell(session, found, template, at=at, policy=policy, **more)
    async with db.read() as session:
        return await session.get_one(Message, message)


# -- telling -----------------------------------------------------------------------------------------------------------
async def test_a_milestone_is_told_once_with_its_job(db: Database) -> None:
    case = await a_case(db)
    first = await told(db, case)
    again = await told(db, case, at=AT + timedelta(days=3))
    other = await told(db, case, milestone="accepted:2")
    assert first.id == again.id != other.id
    assert (first.state, first.created_at, first.unit_id) == ("waiting", AT, None)
    async with db.read() as session:
        words = await session.get_one(MessageParticulars, first.id)
    assert words.number == NUMBER
    assert words.words == f"【12319】您反映的事项已受理，编号{CASE}。可凭编号致电12319查询进展。"
    jobs = await rows(db, Job, Job.kind == SEND)
    assert {job.refs["message"] for job in jobs} == {str(first.id), str(other.id)}
    assert len(jobs) == 2
    kept = [str(vars(row)) for model in (Message, Job, OutboxEvent) for row in await rows(db, model)]
    assert NUMBER not in "".join(kept)
    assert first.recipient_hash == POLICY.hash(NUMBER)


async def test_a_message_goes_back_with_its_cause(db: Database) -> None:
    case = await a_case(db, number=CASE)

    async def halfway() -> None:
        async with db.begin() as session:
            await tell(session, await session.get_one(Case, case), "accepted", at=AT, milestone="accepted")
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        await halfway()
    for model in (Message, MessageParticulars, Job):
        assert await rows(db, model) == []


async def test_a_case_of_the_same_transaction_can_be_told_of(db: Database) -> None:
    id = uuid4()
    async with db.begin() as session:
        values = {"source": "web", "state": "reported", "disposition": "case", "decision": "auto"}
        case = Case(id=id, number=CASE, emergency=[], secrecy=False, version=1, created_at=AT, **values)
        session.add(case)
        case.anonymous, case.wants_reply = False, True
        session.add(CaseParticulars(case_id=id, reporter_number=NUMBER))
        await tell(session, case, "accepted", at=AT, milestone="accepted", policy=POLICY)
    [message] = await rows(db, Message)
    assert message.state == "waiting"


@pytest.mark.parametrize(
    ("case", "particulars", "reason"),
    [
        ({"secrecy": True}, {}, "confidential"),
        ({"emergency": ["110"]}, {}, "emergency"),
        ({"secrecy": True, "emergency": ["110"]}, {}, "confidential"),
        ({"anonymous": True}, {}, "anonymous"),
        ({"wants_reply": False}, {}, "not_wanted"),
        ({}, {"reporter_number": None}, "no_number"),
        ({}, {"reporter_number": "0724-2345678"}, "no_mobile"),
        ({}, {"reporter_number": "110"}, "no_mobile"),
        ({}, {"reporter_number": None, "erased_at": AT}, "erased"),
    ],
)
async def test_what_would_give_somebody_away_is_withheld_and_says_why(
    db: Database, case: dict[str, Any], particulars: dict[str, Any], reason: str
) -> None:
    message = await told(db, await a_case(db, particulars=particulars, **case))
    assert (message.state, message.reason, message.recipient_hash) == ("withheld", reason, "")
    assert await rows(db, MessageParticulars) == []
    assert await rows(db, Job) == []


async def test_the_number_to_call_back_goes_first(db: Database) -> None:
    case = await a_case(db, particulars={"callback_number": "+86 139 0013 9000"})
    await told(db, case)
    [words] = await rows(db, MessageParticulars)
    assert words.number == "13900139000"


async def test_a_neutral_template_speaks_for_a_confidential_case_when_a_setting_names_it(db: Database) -> None:
    policy = Policy(key=POLICY.key, neutral="neutral")
    message = await told(db, await a_case(db, secrecy=True), "closed", policy=policy)
    assert (message.state, message.template) == ("waiting", "neutral")
    [words] = await rows(db, MessageParticulars)
    assert words.words == "【12319】感谢您的来电。"
    anonymous = await told(db, await a_case(db, emergency=["110"], anonymous=True), "closed", policy=policy)
    assert (anonymous.state, anonymous.reason) == ("withheld", "anonymous")


async def test_without_a_gateway_nothing_piles_up(db: Database) -> None:
    message = await told(db, await a_case(db), policy=Policy(open=False))
    assert (message.state, message.reason) == ("withheld", "no_gateway")
    assert await rows(db, Job) == []


async def test_what_cannot_be_told_is_refused(db: Database) -> None:
    case, unit = await a_case(db), await a_unit(db)
    with pytest.raises(TemplateError, match="no template"):
        await told(db, case, "nothing")
    with pytest.raises(TemplateError, match="is for a unit"):
        await told(db, case, "unit_order")
    with pytest.raises(TemplateError, match="is for a citizen"):
        await told(db, case, "accepted", unit=unit)
    with pytest.raises(LookupError, match="no unit"):
        await told(db, case, "unit_unsigned", unit=uuid4())
    for milestone in ("", "A", NUMBER + " ", "a" * 81, "结案"):
        with pytest.raises(ValueError, match="milestone"):
            await told(db, case, milestone=milestone)
    lacking = await told(db, case, "dispatched")  # no unit has the case
    assert (lacking.state, lacking.reason) == ("withheld", "incomplete")


async def test_at_most_so_many_a_day_and_the_rest_are_on_record(db: Database) -> None:
    cases = [await a_case(db) for _ in range(7)]
    evening = datetime(2026, 11, 20, 15, 59, tzinfo=UTC)  # a minute to midnight in the city
    states = [(await told(db, case, at=evening)).state for case in cases]
    assert states == ["waiting"] * 5 + ["refused"] * 2
    refused = await rows(db, Message, Message.state == "refused")
    assert {message.reason for message in refused} == {"too_many"}
    assert len(await rows(db, MessageParticulars)) == len(await rows(db, Job)) == 5
    other = await a_case(db, particulars={"reporter_number": "13700137000"})
    assert (await told(db, other, at=evening)).state == "waiting"
    assert (await told(db, cases[0], milestone="next", at=evening + timedelta(minutes=1))).state == "waiting"
    assert (
        await told(db, cases[0], milestone="other", policy=Policy(key=POLICY.key, daily_limit=0))
    ).state == "refused"


async def test_the_limit_holds_when_many_are_told_at_once(db: Database) -> None:
    cases = [await a_case(db) for _ in range(12)]
    async with db.begin() as session:
        for number, case in enumerate(cases):
            (await session.get_one(Case, case)).number = f"20261120{number:05d}"
    found = await asyncio.gather(*(told(db, case) for case in cases))
    assert sorted(message.state for message in found) == ["refused"] * 7 + ["waiting"] * 5


async def test_a_unit_is_told_at_its_duty_phone_also_of_a_confidential_case(db: Database) -> None:
    unit, mute = await a_unit(db, duty_phone="0724-2345678"), await a_unit(db, duty_phone="")
    case = await a_case(db, secrecy=True, category_minor="路灯", due_at=AT)
    message = await told(db, case, "unit_order", unit=unit)
    assert (message.state, message.unit_id) == ("waiting", unit)
    [words] = await rows(db, MessageParticulars)
    assert words.number == "07242345678"
    assert words.words == f"【12319】市政管理处：有新的处置指令，编号{CASE}（路灯），请及时签收，11月20日09:00前办结。"
    assert (await told(db, case, "unit_order", unit=mute)).reason == "no_number"


# -- a gateway that is really there ------------------------------------------------------------------------------------
@dataclass
class Peer:
    """An SMS gateway of the test's own: answers as it is told, keeps what it gets."""

    url: str = ""
    answers: list[int | str] = field(default_factory=list)
    seen: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    open: threading.Event = field(default_factory=threading.Event)

    @property
    def ids(self) -> list[str]:
        return [headers[IDEMPOTENCY.lower()] for headers, _ in self.seen]


@pytest.fixture
def peer() -> Iterator[Peer]:
    found = Peer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.seen.append(({name.lower(): value for name, value in self.headers.items()}, body))
            answer = found.answers.pop(0) if found.answers else 200
            if answer == "silence":
                found.open.wait(30)
                return
            if answer == "trickle":
                self.send_response(200)
                self.end_headers()
                while not found.open.wait(0.05):
                    try:
                        self.wfile.write(b" ")
                    except OSError:
                        return
                return
            if answer == "break":
                self.connection.close()
                return
            status = answer if isinstance(answer, int) else 200
            content = b"\xff not json" if answer == "noise" else b'{"ref": "sms-7"}'
            self.send_response(status)
            if status in (301, 307):
                self.send_header("Location", found.url)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}/send"
    yield found
    found.open.set()
    server.shutdown()
    server.server_close()


def outgoing() -> Outgoing:
    return Outgoing(uuid4(), NUMBER, "您好", "sms")


async def test_the_gateway_gets_the_message_signed(peer: Peer) -> None:
    gateway = HttpGateway(peer.url, "secret", now=lambda: 1_763_600_000.9)
    message = outgoing()
    assert await gateway.send(message) == "sms-7"
    await gateway.close()
    [(headers, body)] = peer.seen
    assert json.loads(body) == {"id": str(message.id), "channel": "sms", "to": NUMBER, "text": "您好"}
    assert headers[TIMESTAMP.lower()] == "1763600000"
    assert headers[SIGNATURE.lower()] == signature("secret", "1763600000", body)
    assert headers[IDEMPOTENCY.lower()] == str(message.id)


@pytest.mark.parametrize(
    ("answer", "error", "word"),
    [
        (400, GatewayRefused, "gateway_400"),
        (404, GatewayRefused, "gateway_404"),
        (408, GatewayDown, "status_408"),
        (429, GatewayDown, "status_429"),
        (500, GatewayDown, "status_500"),
        (503, GatewayDown, "status_503"),
        (307, GatewayDown, "status_307"),
        ("break", GatewayDown, "Error"),
        ("silence", GatewayDown, "Time"),
        ("trickle", GatewayDown, "TimeoutError"),
    ],
)
async def test_every_answer_is_a_refusal_or_another_try(
    peer: Peer, answer: int | str, error: type[Exception], word: str
) -> None:
    peer.answers = [answer]
    gateway = HttpGateway(peer.url, "secret", timeout_s=0.5)
    begun = time.monotonic()
    with pytest.raises(error, match=word) as raised:
        await gateway.send(outgoing())
    assert time.monotonic() - begun < 5
    assert NUMBER not in str(raised.value)
    peer.open.set()
    await gateway.close()
    assert len(peer.seen) == 1


async def test_a_gateway_that_is_not_there_is_tried_again_and_noise_is_a_receipt(peer: Peer) -> None:
    gone = HttpGateway("http://127.0.0.1:9/send", "secret", timeout_s=1)
    with pytest.raises(GatewayDown):
        await gone.send(outgoing())
    await gone.close()
    peer.answers = ["noise"]
    gateway = HttpGateway(peer.url, "secret")
    assert await gateway.send(outgoing()) is None
    await gateway.close()


@pytest.mark.parametrize(
    ("where", "secret", "why"),
    [
        ("https://gateway.example/send", "", "SECRET is empty"),
        ("https://user:word@gateway.example/", "s", "holds a password"),
        ("ftp://gateway.example/", "s", "no http"),
        ("gateway", "s", "no http"),
        ("file:here.jsonl", "", "not absolute"),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, where: str, secret: str, why: str) -> None:
    settings = Settings(data_dir=tmp_path, message_gateway=where, message_gateway_secret=secret)
    with pytest.raises(PolicyError, match=why) as refused:
        gateway_of(settings)
    assert "CALLCENTER_MESSAGE_GATEWAY" in str(refused.value)
    assert "word" not in str(refused.value).replace("password", "")


# -- sending -----------------------------------------------------------------------------------------------------------
LATER = AT + timedelta(days=1)


def runner_of(db: Database, gateway: Gateway | None, attempts: int = 12) -> Runner:
    backoff = Backoff(attempts=attempts)
    handlers = sending.handlers(gateway, policy=POLICY, backoff=backoff, now=lambda: LATER)
    return Runner(db, handlers, backoff=backoff)


async def test_a_message_is_handed_over_again_until_the_gateway_has_it(
    db: Database, peer: Peer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    message = await told(db, await a_case(db))
    peer.answers = [503, 429, 200]
    gateway = HttpGateway(peer.url, "secret")
    runner, at = runner_of(db, gateway), AT
    for wait in (5, 10, 0):
        assert await runner.run_once(at) == 1
        at += timedelta(seconds=wait)
    assert await runner.run_once(at + timedelta(days=1)) == 0
    await gateway.close()
    assert peer.ids == [str(message.id)] * 3
    [kept] = await rows(db, Message)
    assert (kept.state, kept.sent_at, kept.gateway_ref, kept.reason) == ("sent", LATER, "sms-7", None)
    [job] = await rows(db, Job)
    assert job.done_at is not None
    assert NUMBER not in caplog.text


async def test_a_refused_message_is_given_up_at_once_and_a_dead_gateway_in_the_end(db: Database, peer: Peer) -> None:
    gateway = HttpGateway(peer.url, "secret")
    refused = await told(db, await a_case(db))
    peer.answers = [400]
    await runner_of(db, gateway).run_once(AT)
    lost = await told(db, await a_case(db))
    peer.answers = [500, 500]
    runner = runner_of(db, gateway, attempts=2)
    assert await runner.run_once(AT) == 1
    assert await runner.run_once(AT + timedelta(seconds=5)) == 1
    await gateway.close()
    states = {message.id: (message.state, message.reason) for message in await rows(db, Message)}
    assert states == {refused.id: ("failed", "gateway_400"), lost.id: ("failed", "unreachable")}
    assert sorted(str(job.fault) for job in await rows(db, Job)) == ["gateway_400", "unreachable status_500"]
    assert all(job.failed_at is not None for job in await rows(db, Job))


async def test_a_process_that_died_after_handing_over_hands_over_the_same_key(db: Database, peer: Peer) -> None:
    message = await told(db, await a_case(db))
    gateway = HttpGateway(peer.url, "secret")
    [job] = await rows(db, Job)

    class DiedError(BaseException):
        pass

    async def die(*_: Any, **__: Any) -> None:
        raise DiedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sending, "_settle", die)
        with pytest.raises(DiedError):
            await sending.handlers(gateway, policy=POLICY)[SEND](db, job)
    assert await runner_of(db, gateway).run_once(AT) == 1
    await gateway.close()
    assert peer.ids == [str(message.id)] * 2
    await sending.handlers(gateway, policy=POLICY)[SEND](db, job)  # sent: not handed over a third time
    assert len(peer.seen) == 2


@pytest.mark.parametrize("change", [{"secrecy": True}, {"emergency": ["110"]}])
async def test_a_case_that_became_confidential_before_the_message_went_sends_nothing(
    db: Database, peer: Peer, change: dict[str, Any]
) -> None:
    case = await a_case(db)
    await told(db, case)
    async with db.begin() as session:
        await session.execute(update(Case).where(Case.id == case).values(**change))
    gateway = HttpGateway(peer.url, "secret")
    await runner_of(db, gateway).run_once(AT)
    await gateway.close()
    [message] = await rows(db, Message)
    assert (message.state, message.reason) == ("withheld", "confidential" if "secrecy" in change else "emergency")
    [words] = await rows(db, MessageParticulars)
    assert (words.number, words.words) == (None, None)
    assert peer.seen == []


async def test_an_erased_message_and_one_without_a_gateway_are_withheld(db: Database) -> None:
    erased, stranded = await told(db, await a_case(db)), await told(db, await a_case(db))
    async with db.begin() as session:
        gone = await session.get_one(MessageParticulars, erased.id)
        gone.number, gone.words, gone.erased_at = None, None, AT
    assert await runner_of(db, None).run_once(AT) == 2
    states = {message.id: message.reason for message in await rows(db, Message)}
    assert states == {erased.id: "erased", stranded.id: "no_gateway"}


# -- the file ----------------------------------------------------------------------------------------------------------
async def test_the_file_has_each_message_once_whatever_crashed(tmp_path: Path) -> None:
    path = tmp_path / "new" / "outgoing.jsonl"
    first, second = outgoing(), outgoing()
    gateway = FileGateway(path)
    assert await gateway.send(first) == str(first.id)
    await gateway.send(first)
    with path.open("ab") as file:
        file.write(b'{"id": "cut sh')
    again = FileGateway(path)
    await asyncio.gather(*(again.send(message) for message in (first, second, second)))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["id"] for line in lines] == [str(first.id), str(second.id)]
    assert lines[0] == {"id": str(first.id), "channel": "sms", "to": NUMBER, "text": "您好"}
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_file_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(GatewayDown, match="file_21"):
        await FileGateway(tmp_path / "folder").send(outgoing())


def test_settings_name_the_gateway(tmp_path: Path) -> None:
    assert gateway_of(Settings(data_dir=tmp_path)) is None
    for where in ("file", f"file:{tmp_path}/a.jsonl", f"file://{tmp_path}/a.jsonl"):
        assert isinstance(gateway_of(Settings(data_dir=tmp_path, message_gateway=where)), FileGateway)
    policy = Policy.from_settings(Settings(data_dir=tmp_path, message_gateway="file", message_daily_limit=3))
    assert (policy.open, policy.daily_limit, policy.hotline) == (True, 3, "12319")
    assert not Policy.from_settings(Settings(data_dir=tmp_path)).open


# -- units -------------------------------------------------------------------------------------------------------------
async def test_a_red_lamp_reaches_the_unit_as_words(db: Database, tmp_path: Path) -> None:
    late = Late(more={"number": CASE})
    await write(db, late)
    await sweep(db, AT + timedelta(days=9))
    path = tmp_path / "outgoing.jsonl"
    runner = runner_of(db, FileGateway(path))
    while await runner.run_once(LATER + timedelta(days=9)):
        pass
    texts = sorted(json.loads(line)["text"] for line in path.read_text().splitlines())
    assert texts == [
        f"【12319】市政管理处处长：案件{CASE}的督办单DB202611290001已下达，请签收，并于12月01日08:30前回复。",
        f"【12319】市政管理处：案件{CASE}（路灯）处置严重超时，进入红灯箱并转电子监察，原定11月20日19:00。",
    ]
    assert {message.state for message in await rows(db, Message)} == {"sent"}
    units = await rows(db, Job, Job.kind == MESSAGE_UNIT)
    await sending.handlers(None, policy=POLICY)[MESSAGE_UNIT](db, units[0])
    assert len(await rows(db, Message)) == 2


async def test_an_order_that_is_given_reaches_its_unit(db: Database) -> None:
    late = Late(more={"number": CASE, "due_at": AT})
    await write(db, late)
    async with db.begin() as session:
        await add_job(session, "order.notify", "n", {"case": late.case, "order": late.order, "unit": late.unit}, at=AT)
    assert await runner_of(db, None).run_once(AT) == 1
    [message] = await rows(db, Message)
    assert (message.template, message.state, message.unit_id) == ("unit_order", "waiting", late.unit)


async def test_a_warning_comes_too_late_once_the_limit_has_ended(db: Database) -> None:
    late = Late()
    await write(db, late)
    await sweep(db, AT + timedelta(hours=8))
    async with db.begin() as session:
        await session.execute(update(CaseDeadline).values(ended_at=AT + timedelta(hours=8)))
    assert await runner_of(db, None).run_once(AT + timedelta(hours=8)) == 1
    assert await rows(db, Message) == []


async def test_a_job_that_names_nothing_is_given_up(db: Database) -> None:
    unit = await a_unit(db)
    case = await a_case(db)
    bad: list[tuple[str, dict[str, Any]]] = [
        (SEND, {}),
        (SEND, {"message": uuid4()}),
        (MESSAGE_UNIT, {"case": uuid4(), "unit": unit, "template": "unit_order"}),
        (MESSAGE_UNIT, {"case": case, "unit": unit, "template": "no_such"}),
        (MESSAGE_UNIT, {"case": case, "unit": uuid4(), "template": "unit_order"}),
        (MESSAGE_UNIT, {"case": case, "unit": unit, "template": "unit_red", "deadline": uuid4()}),
        (MESSAGE_UNIT, {"case": case, "unit": unit, "template": "unit_sheet", "sheet": uuid4()}),
    ]
    async with db.begin() as session:
        for number, (kind, refs) in enumerate(bad):
            await add_job(session, kind, f"bad-{number}", refs, at=AT)
    assert await runner_of(db, None).run_once(AT) == len(bad)
    jobs = await rows(db, Job)
    assert all(job.failed_at is not None and job.attempts == 1 for job in jobs), [job.fault for job in jobs]


def test_the_reasons_fit_their_column() -> None:
    reasons = [value for name, value in vars(telling).items() if name.isupper() and isinstance(value, str)]
    assert max(map(len, reasons)) <= 80


async def test_a_unit_that_was_renamed_with_a_number_in_it_is_masked(db: Database) -> None:
    unit = await a_unit(db)
    async with db.begin() as session:
        await session.execute(update(Unit).values(name="处 13900139000"))
    await told(db, await a_case(db, category_minor="路灯", due_at=AT), "unit_order", unit=unit)
    [words] = await rows(db, MessageParticulars)
    assert "13900139000" not in str(words.words)
