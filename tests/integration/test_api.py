"""The API as its users have it: over HTTP, on both databases, with what is tried against it."""

import asyncio
import contextlib
import logging
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import structlog
from sqlalchemy import select, text

from api.health import Probe
from api.security import RateLimit
from api.services import Services
from callcenter import clock
from callcenter.access.model import AuditEntry
from callcenter.access.service import AccessService
from callcenter.bus import LIVE, MemoryBus
from callcenter.settings import Settings
from callcenter.storage.engine import Database
from callcenter.storage.migrate import migrate
from tests.api import LAMP, MATTER, NUMBER, PASSWORD, Api, Told, api, served, told, write
from tests.databases import new_cluster

__all__ = ["api"]

pytestmark = pytest.mark.integration

MASKED = "138****8000"


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem in ``answer``, which must be one with ``status`` and ``code``."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code, body
    assert body["status"] == status
    assert body["message"]
    assert body["detail"]
    return body


async def until(true: Callable[[], Awaitable[bool]], within: float = 10.0) -> None:
    """Asks until it is true."""
    last = time.monotonic() + within
    while not await true():
        assert time.monotonic() < last, f"not within {within} s"
        await asyncio.sleep(0.02)


async def _items(unit: httpx.AsyncClient, wanted: int) -> bool:
    return len((await unit.get("/api/v1/dispatch/feed")).json()["items"]) >= wanted


async def deeds(api: Api) -> list[tuple[str, str, str]]:
    async with api.services.db.read() as session:
        rows = (await session.scalars(select(AuditEntry).order_by(AuditEntry.id))).all()
    return [(row.action, row.result, row.subject) for row in rows]


# -- the first administrator and sessions ------------------------------------------------------------------------------
async def test_first_start_sign_in_and_out(api: Api) -> None:
    path = await api.services.access.first_start()
    assert path is not None
    token = path.split("token=", 1)[1]
    browser = api.browser()
    first = {"token": token, "username": "Zhang", "password": PASSWORD, "display_name": "张工"}
    problem(await browser.post("/api/v1/setup", json={**first, "password": "short"}), 422, "value_refused")
    made = await browser.post("/api/v1/setup", json=first)
    assert made.status_code == 201, made.text
    assert (made.json()["name"], made.json()["display_name"]) == ("zhang", "张工")
    cookie = made.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie  # plain http here
    assert (await browser.get("/api/v1/me")).json()["roles"] == ["admin", "supervisor"]
    problem(await api.browser().post("/api/v1/setup", json={**first, "username": "x2"}), 403, "setup_link_invalid")

    assert (await browser.delete("/api/v1/session")).status_code == 204
    assert "hotline_session" not in browser.cookies
    problem(await browser.get("/api/v1/me"), 401, "not_signed_in")
    again = await browser.post("/api/v1/session", json={"username": "ZHANG", "password": PASSWORD})
    assert again.status_code == 200
    assert (await browser.get("/api/v1/me")).status_code == 200


async def test_an_old_cookie_is_worth_nothing_after_signing_out(api: Api) -> None:
    browser = await api.signed_in("agent")
    stolen = api.client(Cookie=f"hotline_session={browser.cookies['hotline_session']}")
    assert (await stolen.get("/api/v1/me")).status_code == 200
    await browser.delete("/api/v1/session")
    problem(await stolen.get("/api/v1/me"), 401, "session_over")


async def test_a_session_over_its_time_is_over(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = await api.signed_in("agent")
    present = clock.now
    monkeypatch.setattr(clock, "now", lambda: present() + timedelta(hours=12, seconds=5))
    problem(await browser.get("/api/v1/me"), 401, "session_over")


async def test_a_disabled_user_and_a_changed_password_are_out(api: Api) -> None:
    browser = await api.signed_in("agent", username="wang.li")
    other = await api.signed_in("agent", username="li.na")
    admin = await api.signed_in("admin")
    users = {user["username"]: user for user in (await admin.get("/api/v1/users")).json()["items"]}
    changed = await admin.patch(f"/api/v1/users/{users['wang.li']['id']}", json={"disabled": True})
    assert changed.json()["disabled"] is True
    problem(await browser.get("/api/v1/me"), 401, "session_over")
    refused = await browser.post("/api/v1/session", json={"username": "wang.li", "password": PASSWORD})
    problem(refused, 401, "sign_in_refused")

    old = other.cookies["hotline_session"]
    answer = await other.put("/api/v1/me/password", json={"old": PASSWORD, "new": "another long one 8"})
    assert answer.status_code == 200, answer.text
    assert other.cookies["hotline_session"] != old
    assert (await other.get("/api/v1/me")).status_code == 200
    problem(await api.client(Cookie=f"hotline_session={old}").get("/api/v1/me"), 401, "session_over")


async def test_guessing_is_slowed_by_address(api: Api) -> None:
    browser = api.browser()
    codes = []
    for number in range(12):
        answer = await browser.post("/api/v1/session", json={"username": f"user{number}", "password": "wrong one 12"})
        codes.append(answer.status_code)
    assert codes == [401] * 10 + [429] * 2
    assert 1 <= int(answer.headers["retry-after"]) <= 7
    problem(answer, 429, "too_many")


async def test_another_site_cannot_use_the_cookie(api: Api) -> None:
    browser = await api.signed_in("admin")
    session = browser.cookies["hotline_session"]
    key = {"label": "evil", "role": "dispatcher"}
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": api.url.replace("127.0.0.1", "127.0.0.2")},
        {"Origin": api.url + "0"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": api.url},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
        {},
    ):
        other = api.client(Cookie=f"hotline_session={session}", **headers)
        problem(await other.post("/api/v1/keys", json=key), 403, "cross_site")
        problem(await other.delete("/api/v1/session"), 403, "cross_site")
    assert (await browser.get("/api/v1/keys")).json()["items"] == []
    signing = api.client(Origin="https://evil.example")
    answer = await signing.post("/api/v1/session", json={"username": "first.admin", "password": PASSWORD})
    problem(answer, 403, "cross_site")
    # A form of another site can send text/plain without asking first: it is not read as JSON.
    sent = await browser.post(
        "/api/v1/keys", content='{"label":"evil","role":"dispatcher"}', headers={"Content-Type": "text/plain"}
    )
    problem(sent, 422, "value_refused")


# -- keys --------------------------------------------------------------------------------------------------------------
async def test_a_key_is_shown_once_and_revoked_at_once(api: Api) -> None:
    admin = await api.signed_in("admin")
    made = await admin.post("/api/v1/keys", json={"label": "派遣平台", "role": "dispatcher", "unit": "市政管理处"})
    assert made.status_code == 201, made.text
    key = made.json()
    listed = (await admin.get("/api/v1/keys")).json()["items"]
    assert [one["id"] for one in listed] == [key["id"]]
    assert "key" not in listed[0]
    assert key["key"] not in (await admin.get("/api/v1/keys")).text

    for headers in ({"Authorization": f"Bearer {key['key']}"}, {"X-API-Key": key["key"]}):
        program = api.client(**headers)
        assert (await program.get("/api/v1/me")).json()["unit"] == "市政管理处"
        assert (await program.get("/api/v1/dispatch/feed")).status_code == 200
    assert (await admin.delete(f"/api/v1/keys/{key['id']}")).json()["revoked_at"] is not None
    problem(await program.get("/api/v1/dispatch/feed"), 401, "key_invalid")
    problem(await admin.delete(f"/api/v1/keys/{uuid4()}"), 404, "not_found")


async def test_a_bad_key_does_not_fall_back_to_the_cookie(api: Api) -> None:
    browser = await api.signed_in("agent")
    for headers in (
        {"Authorization": "Bearer hl_x_y"},
        {"Authorization": "Bearer"},
        {"X-API-Key": ""},
        {"X-API-Key": "'; DROP TABLE api_keys --"},
    ):
        problem(await browser.get("/api/v1/me", headers=headers), 401, "key_invalid")


async def test_a_key_cannot_confirm_or_manage(api: Api) -> None:
    admin = await api.signed_in("admin")
    for body in (
        {"label": "x", "role": "agent"},
        {"label": "x", "role": "admin"},
        {"label": "x", "permissions": ["users:manage"]},
        {"label": "x", "role": "nobody"},
        {"label": "x"},
        {"label": "x", "role": "dispatcher", "expires_at": "2020-01-01T00:00:00Z"},
        {"label": "x", "role": "dispatcher", "expires_at": "2120-01-01T00:00:00"},
        {"label": "x", "role": "dispatcher", "suprise": 1},
    ):
        problem(await admin.post("/api/v1/keys", json=body), 422, "value_refused")


# -- who may what ------------------------------------------------------------------------------------------------------
READS = ["/api/v1/calls", "/api/v1/cases", "/api/v1/dispatch/feed", "/api/v1/users", "/api/v1/keys", "/api/v1/audit"]


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("admin", {"/api/v1/users", "/api/v1/keys"}),
        ("supervisor", {"/api/v1/calls", "/api/v1/cases"}),
        ("agent", {"/api/v1/calls", "/api/v1/cases"}),
        ("dispatcher", {"/api/v1/cases", "/api/v1/dispatch/feed"}),
        ("auditor", {"/api/v1/calls", "/api/v1/cases", "/api/v1/audit"}),
    ],
)
async def test_each_role_reads_what_the_table_says(api: Api, role: str, may: set[str]) -> None:
    browser, stranger = await api.signed_in(role), api.client()
    for path in READS:
        answer = await browser.get(path)
        if path in may:
            assert answer.status_code == 200, answer.text
        else:
            problem(answer, 403, "permission_missing")
        problem(await stranger.get(path), 401, "not_signed_in")
    refused = [deed for deed in await deeds(api) if deed[:2] == ("permission missing", "refused")]
    assert len(refused) == len(READS) - len(may)


# -- calls and cases ---------------------------------------------------------------------------------------------------
async def test_a_call_with_everything(api: Api) -> None:
    call = await told(api.services.db)
    agent = await api.signed_in("agent")
    listed = (await agent.get("/api/v1/calls")).json()
    assert [item["id"] for item in listed["items"]] == [str(call.call)]
    assert listed["items"][0]["number"] == MASKED
    assert listed["next"] is None

    found = (await agent.get(f"/api/v1/calls/{call.call}")).json()
    assert found["number"] == MASKED
    assert found["recording"] == {
        "path": f"20261120/{call.call}.wav",
        "sha256": "ab" * 32,
        "bytes": 112_000,
        "seconds": 7.0,
    }
    [leg] = found["legs"]
    assert (leg["kind"], leg["seconds"], leg["gaps"]) == ("citizen", 7.0, [])
    [utterance] = leg["utterances"]
    assert utterance["text"] == "解放路的路灯坏了我的电话是幺三八****八零零零"
    [routed] = found["routings"]
    assert routed["answer"]["category"] == LAMP
    assert routed["answer"]["evidence"] == [[4, 6]]
    assert found["case"]["id"] == str(call.case)
    assert found["cases"] == [found["case"]]
    assert found["case"]["state"] == "pending_dispatch"
    assert re.fullmatch(r"\d{13}", found["case"]["number"])
    assert list(found["timeline"]) == [
        "rung",
        "answered",
        "last_voiced",
        "end_decided",
        "decoded",
        "routed",
        "stored",
    ]
    assert found["spans"]["end_decided_to_stored"] == pytest.approx(0.15)
    assert found["spans"]["last_voiced_to_stored"] == pytest.approx(0.35)
    assert NUMBER not in str(found)
    assert "幺三八零零" not in str(found)


async def test_the_whole_number_needs_a_permission_and_a_reason_and_is_audited(api: Api) -> None:
    call = await told(api.services.db)
    agent, unit = await api.signed_in("agent"), await api.with_key()
    whole = (await agent.get(f"/api/v1/calls/{call.call}", params={"particulars": "callback"})).json()
    assert whole["number"] == NUMBER
    assert whole["legs"][0]["utterances"][0]["text"] == MATTER
    case = (await agent.get(f"/api/v1/cases/{call.case}", params={"particulars": "emergency"})).json()
    assert (case["reporter_number"], case["text"]) == (NUMBER, MATTER)
    refused = await unit.get(f"/api/v1/cases/{call.case}", params={"particulars": "callback"})
    problem(refused, 403, "permission_missing")
    problem(await agent.get(f"/api/v1/calls/{call.call}", params={"particulars": "curious"}), 422, "value_refused")
    assert [deed for deed in await deeds(api) if deed[0] == "particulars read"] == [
        ("particulars read", "done", f"call:{call.call}"),
        ("particulars read", "done", f"case:{call.case}"),
        ("particulars read", "refused", f"case:{call.case}"),
    ]


async def test_what_cannot_be_audited_is_not_shown(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    call = await told(api.services.db)
    agent = await api.signed_in("agent")

    async def no_room(*_: Any, **__: Any) -> None:
        raise TimeoutError("no answer")

    monkeypatch.setattr(api.services.access, "record", no_room)
    answer = await agent.get(f"/api/v1/calls/{call.call}", params={"particulars": "callback"})
    problem(answer, 503, "store_unavailable")
    assert NUMBER not in answer.text


async def test_secrecy_hides_that_there_is_a_number(api: Api) -> None:
    call = await told(api.services.db, secrecy=True)
    unit, agent = await api.with_key(), await api.signed_in("agent")
    case = (await unit.get(f"/api/v1/cases/{call.case}")).json()
    assert (case["secrecy"], case["reporter_number"]) == (True, "")
    assert (await agent.get(f"/api/v1/cases/{call.case}")).json()["reporter_number"] == MASKED


async def test_calls_come_in_pages_that_fit_together(api: Api) -> None:
    made = []
    for number in range(7):
        call = Told(rung_at=clock.now() - timedelta(minutes=10 - number // 2))
        await write(api.services.db, call.speaking()[:1] if number % 2 else [call.speaking()[0], call.ended()[3]])
        made.append(call)
    agent = await api.signed_in("agent")
    seen: list[str] = []
    cursor = None
    for _ in range(10):
        page = (await agent.get("/api/v1/calls", params={"limit": 2, **({"cursor": cursor} if cursor else {})})).json()
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert sorted(seen) == sorted(str(call.call) for call in made)
    assert len(set(seen)) == 7
    for state, odd in (("live", 1), ("ended", 0)):
        found = (await agent.get("/api/v1/calls", params={"state": state})).json()["items"]
        assert {item["id"] for item in found} == {
            str(call.call) for number, call in enumerate(made) if number % 2 == odd
        }


async def test_units_see_what_is_filed_and_nothing_before(api: Api) -> None:
    draft = Told()
    await write(api.services.db, draft.speaking())
    waiting = await told(api.services.db, decision="confirm", probability=0.6)
    empty = await told(api.services.db, disposition="none", category=None, domain=None)
    filed = await told(api.services.db)
    unit, agent = await api.with_key(), await api.signed_in("agent")

    everything = (await agent.get("/api/v1/cases")).json()["items"]
    assert {case["id"] for case in everything} == {str(one.case) for one in (draft, waiting, empty, filed)}
    assert {case["state"] for case in everything} == {"draft", "reported", "cancelled", "pending_dispatch"}
    seen = (await unit.get("/api/v1/cases")).json()["items"]
    assert [case["id"] for case in seen] == [str(filed.case)]
    assert (await unit.get(f"/api/v1/cases/{filed.case}")).status_code == 200
    assert (await unit.get(f"/api/v1/cases/{seen[0]['number']}")).json()["id"] == str(filed.case)
    for hidden in (draft, waiting, empty):
        problem(await unit.get(f"/api/v1/cases/{hidden.case}"), 404, "not_found")
    number = next(case["number"] for case in everything if case["id"] == str(waiting.case))
    problem(await unit.get(f"/api/v1/cases/{number}"), 404, "not_found")
    problem(await unit.get("/api/v1/cases", params={"state": "draft"}), 403, "permission_missing")
    problem(await unit.get(f"/api/v1/calls/{filed.call}"), 403, "permission_missing")
    feed = (await unit.get("/api/v1/dispatch/feed", params={"wait": 5})).json()["items"]
    assert {item["case"]["id"] for item in feed} == {str(filed.case)}


async def test_cases_are_filtered(api: Api) -> None:
    lamp = await told(api.services.db)
    noise = await told(
        api.services.db,
        domain="social",
        decision="confirm",
        category={"standard": "social", "code": "S0101", "kind": "social", "major": "噪声", "minor": "噪声"},
    )
    agent = await api.signed_in("agent")

    async def found(**params: Any) -> set[str]:
        answer = await agent.get("/api/v1/cases", params=params)
        assert answer.status_code == 200, answer.text
        return {case["id"] for case in answer.json()["items"]}

    both = {str(lamp.case), str(noise.case)}
    assert await found() == both
    assert await found(domain="urban") == {str(lamp.case)}
    assert await found(domain="social", decision="confirm") == {str(noise.case)}
    assert await found(category="0209") == {str(lamp.case)}
    assert await found(state=["reported", "pending_dispatch"]) == both
    assert await found(state="reported") == {str(noise.case)}
    assert await found(category="9999") == set()
    problem(await agent.get("/api/v1/cases", params={"category": "' OR 1=1"}), 422, "value_refused")


async def test_an_agent_confirms_and_the_case_is_filed(api: Api) -> None:
    call = await told(api.services.db, decision="confirm", probability=0.6)
    agent, unit = await api.signed_in("agent"), await api.with_key()
    case = (await agent.get(f"/api/v1/cases/{call.case}")).json()
    assert (case["state"], case["confirmed"]) == ("reported", False)
    async with api.services.bus.subscribe(LIVE) as messages:
        answer = await agent.post(f"/api/v1/cases/{case['number']}/confirm", json={"expected_version": case["version"]})
        assert answer.status_code == 200, answer.text
        message = await asyncio.wait_for(anext(messages), 5)
    assert (message["type"], message["case"]) == ("case", str(call.case))
    now = answer.json()
    assert (now["state"], now["confirmed"]) == ("pending_dispatch", True)
    [word] = now["confirmations"]
    assert (word["verdict"], word["model"]) == ("confirmed", "test-1")
    assert [step["action"] for step in now["log"]] == ["opened", "completed", "confirmed", "filed"]
    again = await agent.post(f"/api/v1/cases/{call.case}/confirm", json={"expected_version": case["version"]})
    body = problem(again, 409, "conflict")
    assert str(case["version"]) in body["detail"]
    assert str(now["version"]) in body["detail"]
    feed = (await unit.get("/api/v1/dispatch/feed", params={"wait": 5})).json()
    assert [item["case"]["number"] for item in feed["items"]] == [case["number"]]


async def test_an_agent_corrects_the_category(api: Api) -> None:
    call = await told(api.services.db, decision="confirm", probability=0.6)
    agent = await api.signed_in("agent")
    version = (await agent.get(f"/api/v1/cases/{call.case}")).json()["version"]
    right = {"standard": "GB/T 30428.2-2013", "kind": "event", "code": "0101"}
    for wrong in ({**right, "code": "9999"}, {**right, "standard": "../../etc/passwd"}, {**right, "kind": "social"}):
        answer = await agent.post(
            f"/api/v1/cases/{call.case}/confirm", json={"expected_version": version, "category": wrong}
        )
        problem(answer, 422, "value_refused")
        assert "passwd" not in answer.text
    answer = await agent.post(
        f"/api/v1/cases/{call.case}/confirm", json={"expected_version": version, "category": right}
    )
    assert answer.status_code == 200, answer.text
    case = answer.json()
    assert case["category"]["code"] == "0101"
    assert case["category"]["major"] == "市容环境"
    assert [(word["verdict"], word["code_before"], word["code_after"]) for word in case["confirmations"]] == [
        ("corrected", "0209", "0101")
    ]


async def test_two_agents_at_once_decide_once(api: Api) -> None:
    call = await told(api.services.db, decision="confirm", probability=0.6)
    agents = [await api.signed_in("agent") for _ in range(4)]
    version = (await agents[0].get(f"/api/v1/cases/{call.case}")).json()["version"]
    answers = await asyncio.gather(
        *(agent.post(f"/api/v1/cases/{call.case}/confirm", json={"expected_version": version}) for agent in agents)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]


# -- the feed ----------------------------------------------------------------------------------------------------------
async def test_the_feed_is_pulled_and_acknowledged(api: Api) -> None:
    calls = [await told(api.services.db) for _ in range(5)]
    unit, other = await api.with_key(), await api.with_key()
    await until(lambda: _items(unit, 5))
    page = (await unit.get("/api/v1/dispatch/feed")).json()
    items = page["items"]
    assert [item["case"]["id"] for item in items] == [str(call.case) for call in calls]
    positions = [item["position"] for item in items]
    assert positions == sorted(set(positions))
    assert page["after"] == positions[-1]
    assert all(item["kind"] == "case.filed" for item in items)
    assert items[0]["case"]["reporter_number"] == MASKED
    assert NUMBER not in str(items)
    assert "零零幺三八" not in str(items)

    assert (await unit.get("/api/v1/dispatch/feed")).json()["items"] == [
        {**item, "case": {**item["case"], "pulled_at": again["case"]["pulled_at"]}}
        for item, again in zip(items, (await unit.get("/api/v1/dispatch/feed")).json()["items"], strict=True)
    ]
    two = (await unit.get("/api/v1/dispatch/feed", params={"limit": 2})).json()
    assert [item["position"] for item in two["items"]] == positions[:2]
    assert (await unit.post("/api/v1/dispatch/ack", json={"position": two["after"]})).json() == {
        "position": two["after"]
    }
    assert (await unit.post("/api/v1/dispatch/ack", json={"position": 0})).json() == {"position": two["after"]}
    rest = (await unit.get("/api/v1/dispatch/feed")).json()
    assert [item["position"] for item in rest["items"]] == positions[2:]
    assert len((await unit.get("/api/v1/dispatch/feed", params={"after": 0})).json()["items"]) == 5
    assert len((await other.get("/api/v1/dispatch/feed")).json()["items"]) == 5  # each reader has its own place
    problem(await unit.post("/api/v1/dispatch/ack", json={"position": 10**12}), 422, "value_refused")
    agent = await api.signed_in("agent")
    assert "pulled" in (await agent.get(f"/api/v1/calls/{calls[0].call}")).json()["timeline"]


async def test_a_pull_waits_for_what_comes(api: Api) -> None:
    unit = await api.with_key()
    started = time.monotonic()
    empty = (await unit.get("/api/v1/dispatch/feed", params={"wait": 0.4})).json()
    assert empty == {"items": [], "after": 0}
    assert 0.35 <= time.monotonic() - started < 3
    waiting = asyncio.create_task(unit.get("/api/v1/dispatch/feed", params={"wait": 20}))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    call = await told(api.services.db)
    stored = time.monotonic()
    page = (await asyncio.wait_for(waiting, 10)).json()
    assert [item["case"]["id"] for item in page["items"]] == [str(call.case)]
    assert time.monotonic() - stored < 2


async def test_a_reader_that_hangs_up_is_no_longer_waited_for(api: Api) -> None:
    unit = await api.with_key()
    waiting = asyncio.create_task(unit.get("/api/v1/dispatch/feed", params={"wait": 20}))

    async def one_waits() -> bool:
        return api.app.state.metrics.waiting_pulls == 1

    async def nobody_waits() -> bool:
        return api.app.state.metrics.waiting_pulls == 0

    await until(one_waits)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(nobody_waits)


# -- what is tried against it ------------------------------------------------------------------------------------------
ODD_ADDRESSES = [
    ("/api/v1/calls/1", 422, "value_refused"),
    ("/api/v1/calls/' OR 1=1 --", 422, "value_refused"),
    (f"/api/v1/calls/{uuid4()}", 404, "not_found"),
    ("/api/v1/cases/' OR 1=1 --", 404, "not_found"),
    ("/api/v1/cases/%00", 404, "not_found"),
    ("/api/v1/cases/2026112099999", 404, "not_found"),
    ("/api/v1/cases/١٢٣٤", 404, "not_found"),
    ("/api/v1/cases/" + "9" * 41, 422, "value_refused"),
    ("/api/v1/cases/..%2f..%2fetc%2fpasswd", 404, "not_found"),
    ("/api/v1/nothing", 404, "not_found"),
    ("/api/v1/calls?cursor=abc", 422, "cursor_invalid"),
    ("/api/v1/calls?cursor=99999999999999999999999-00000000000000000000000000000000", 422, "cursor_invalid"),
    ("/api/v1/cases?cursor=1-1;DROP TABLE cases", 422, "cursor_invalid"),
    ("/api/v1/cases?cursor=" + "9" * 100, 422, "value_refused"),
    ("/api/v1/calls?limit=0", 422, "value_refused"),
    ("/api/v1/calls?limit=1e9", 422, "value_refused"),
    ("/api/v1/cases?state=secret", 422, "value_refused"),
    ("/api/v1/cases?category=%00", 422, "value_refused"),
]


async def test_odd_addresses_are_answered_in_order(api: Api) -> None:
    agent = await api.signed_in("agent")
    for path, status, code in ODD_ADDRESSES:
        answer = await agent.get(path)
        assert answer.status_code == status, f"{path}: {answer.text}"
        problem(answer, status, code)
        assert "DROP" not in answer.text


async def test_odd_feed_questions(api: Api) -> None:
    unit = await api.with_key()
    for query in (
        "after=-1",
        "after=abc",
        "after=1e3",
        "after=9223372036854775808",
        "limit=501",
        "wait=21",
        "wait=nan",
        "wait=-1",
    ):
        answer = await unit.get(f"/api/v1/dispatch/feed?{query}")
        assert answer.status_code == 422, query
        problem(answer, 422, "value_refused")


async def test_odd_acknowledgements(api: Api) -> None:
    unit = await api.with_key()
    for position in (-1, "x", None, 1.5, 2**63, True, [], {}):
        answer = await unit.post("/api/v1/dispatch/ack", json={"position": position})
        assert answer.status_code == 422, position
        problem(answer, 422, "value_refused")


async def test_a_huge_body_is_refused_before_it_is_read(api: Api) -> None:
    browser = api.browser()
    body = b'{"username": "' + b"x" * (2 * 1024 * 1024) + b'", "password": "y"}'
    answer = await browser.post("/api/v1/session", content=body, headers={"Content-Type": "application/json"})
    problem(answer, 413, "body_too_large")

    async def endless() -> Any:
        for _ in range(64):
            yield b" " * 65536

    with_chunks = await browser.post("/api/v1/session", content=endless(), headers={"Content-Type": "application/json"})
    problem(with_chunks, 413, "body_too_large")


ODD_BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"x"',
    b"\xff\xfe",
    b'{"username": 1, "password": "secret word"}',
    b'{"username": "a", "password": ["secret word"]}',
    b'{"username": "a", "password": "secret word", "more": "secret word"}',
    b'{"username": "a", "password": {"a": "secret word"}}',
    b'{"username": "' + b"x" * 65 + b'", "password": "secret word"}',
    b"[" * 100_000,
]


async def test_odd_bodies_are_refused_and_not_repeated(api: Api) -> None:
    browser = api.browser()
    for body in ODD_BODIES:
        api.app.state.guessing = RateLimit()
        answer = await browser.post("/api/v1/session", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), body[:80]
        problem(answer, answer.status_code, "value_refused")
        assert "secret word" not in answer.text


async def test_secrets_and_particulars_reach_no_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    call = await told(api.services.db)
    caplog.set_level(logging.INFO)
    with structlog.testing.capture_logs() as entries:
        browser = await api.signed_in("agent", username="wang.li")
        await browser.post("/api/v1/session", json={"username": "wang.li", "password": "my secret word 1"})
        await browser.get(f"/api/v1/calls/{call.call}", params={"particulars": "callback"})
        await browser.get("/api/v1/calls", headers={"X-API-Key": "hl_secret"})
        made = await api.services.access.keys.create("x", roles=["dispatcher"])
        await api.client(Authorization=f"Bearer {made.text}").get("/api/v1/dispatch/feed")
    written = caplog.text + str(entries)
    for secret in (
        PASSWORD,
        "my secret word 1",
        made.text,
        NUMBER,
        MATTER,
        browser.cookies["hotline_session"],
        "hl_secret",
    ):
        assert secret not in written


async def test_a_fault_of_ours_tells_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    agent = await api.signed_in("agent")

    async def fault(*_: Any, **__: Any) -> None:
        raise RuntimeError(f"could not handle {NUMBER}")

    monkeypatch.setattr("callcenter.calls.repository.list_calls", fault)
    with structlog.testing.capture_logs() as entries:
        answer = await agent.get("/api/v1/calls")
    body = problem(answer, 500, "internal")
    assert NUMBER not in str(body)
    [entry] = [one for one in entries if one["event"] == "request failed"]
    assert (entry["fault"], entry["path"]) == ("RuntimeError", "/api/v1/calls")
    assert NUMBER not in str(entries)
    assert answer.headers["x-content-type-options"] == "nosniff"


# -- health, metrics, headers, docs ------------------------------------------------------------------------------------
async def test_ready_while_all_is_well(api: Api) -> None:
    client = api.client()
    assert (await client.get("/healthz")).json() == {"status": "alive"}
    answer = await client.get("/readyz")
    assert answer.status_code == 200, answer.text
    assert answer.json()["ready"] is True
    assert set(answer.json()["checks"]) == {"store", "migrations"}


@dataclass
class Part:
    """A part as /readyz and /metrics see one: what the compute child and the ledger tell of themselves."""

    ready: bool = True
    capacity: int = 12
    live: int = 3
    pending: int = 0
    fault: str | None = None


async def test_each_part_that_is_missing_is_named(api: Api) -> None:
    line = {"asterisk": "own", "ami": True, "up": True}
    compute, ledger = Part(), Part(pending=7)
    services = replace(api.services, sequencer=None, compute=compute, ledger=ledger, line_status=lambda: line)
    async with served(services) as running:
        client = running.client()

        async def readiness() -> tuple[int, list[str], dict[str, Any]]:
            running.app.state.probe = Probe()  # what was found a moment ago is kept for a second
            answer = await client.get("/readyz")
            assert answer.json()["ready"] is (answer.status_code == 200)
            return answer.status_code, answer.json()["not_ready"], answer.json()["checks"]

        status, missing, checks = await readiness()
        assert (status, missing) == (200, [])
        assert checks["spool"]["detail"] == "7 commands wait for the store"
        assert checks["compute"]["detail"] == "3 of 12 legs heard"
        compute.ready, ledger.fault, line["up"] = False, "no space left in the spool", False
        status, missing, checks = await readiness()
        assert (status, missing) == (503, ["spool", "compute", "line"])
        assert checks["spool"]["detail"] == "no space left in the spool"
        told_ = (await client.get("/metrics")).text.splitlines()
        for expected in (
            "hotline_live_legs 3.0",
            "hotline_leg_capacity 12.0",
            "hotline_compute_ready 0.0",
            "hotline_line_up 0.0",
            "hotline_spool_pending 7.0",
            'hotline_fault{part="spool"} 1.0',
        ):
            assert expected in told_


async def test_a_schema_of_another_version_is_not_ready(api: Api) -> None:
    async with api.services.db.begin() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    answer = await api.client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["not_ready"] == ["migrations"]
    assert "0000" in answer.json()["checks"]["migrations"]["detail"]


async def test_asking_often_asks_the_store_seldom(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    ping = api.services.db.ping

    async def counted() -> None:
        nonlocal asked
        asked += 1
        await ping()

    monkeypatch.setattr(api.services.db, "ping", counted)
    client = api.client()
    await asyncio.gather(*(client.get("/readyz") for _ in range(30)))
    assert asked <= 2


async def test_a_store_that_hangs_is_named_within_its_second(tmp_path: Path) -> None:
    path = tmp_path / "callcenter.db"
    await migrate(f"sqlite+aiosqlite:///{path}")
    async with store_behind(f"sqlite+aiosqlite:///{path}", tmp_path) as running:
        agent = await running.signed_in("agent")
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        try:
            client = running.client()
            started = time.monotonic()
            answer = await client.get("/readyz")
            assert time.monotonic() - started < 2.5
            assert (answer.status_code, answer.json()["not_ready"]) == (503, ["store"])
            assert (await client.get("/healthz")).status_code == 200
            assert (await agent.get("/api/v1/me")).status_code == 200  # readers do not wait for a writer
        finally:
            holder.execute("ROLLBACK")
            holder.close()
        running.app.state.probe = Probe()
        assert (await client.get("/readyz")).status_code == 200


async def test_a_store_that_is_gone_and_comes_back(tmp_path: Path) -> None:
    cluster = new_cluster()
    try:
        url = cluster.url("postgres")
        await migrate(url)
        async with store_behind(url, tmp_path) as running:
            agent, client = await running.signed_in("agent"), running.client()
            await told(running.services.db)
            assert len((await agent.get("/api/v1/calls")).json()["items"]) == 1
            cluster.stop(signal.SIGQUIT)
            problem(await agent.get("/api/v1/calls"), 503, "store_unavailable")
            problem(
                await running.browser().post("/api/v1/session", json={"username": "x", "password": "y"}),
                503,
                "store_unavailable",
            )
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.json()["not_ready"]) == (503, ["store"])
            assert str(cluster.folder) not in answer.text
            assert (await client.get("/healthz")).status_code == 200
            assert "hotline_store_up 0.0" in (await client.get("/metrics")).text
            cluster.start()
            running.app.state.probe = Probe()
            assert (await client.get("/readyz")).status_code == 200
            assert len((await agent.get("/api/v1/calls")).json()["items"]) == 1
            assert "hotline_store_up 1.0" in (await client.get("/metrics")).text
    finally:
        cluster.stop()
        shutil.rmtree(cluster.folder)


@contextlib.asynccontextmanager
async def store_behind(url: str, folder: Path) -> AsyncIterator[Api]:
    """The API over the database at ``url``, without a sequencer."""
    db, bus = Database(url), MemoryBus()
    await db.connect()
    settings = Settings(data_dir=folder, asterisk="none")
    access = AccessService(db, settings)
    async with served(Services(settings=settings, db=db, bus=bus, access=access)) as running:
        yield running
    access.close()
    await bus.close()
    await db.close()


async def test_metrics_count_what_happened(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    client = api.client()
    assert (await client.get("/metrics")).status_code == 200
    await told(api.services.db)
    waiting = await told(api.services.db, decision="confirm")
    unit = await api.with_key()
    assert (await unit.get("/api/v1/dispatch/feed", params={"wait": 5})).json()["items"]
    agent = await api.signed_in("agent")
    version = (await agent.get(f"/api/v1/cases/{waiting.case}")).json()["version"]
    await agent.post(f"/api/v1/cases/{waiting.case}/confirm", json={"expected_version": version})

    async def value(name: str) -> float:
        body = (await client.get("/metrics")).text
        found = re.search(rf"^{re.escape(name)} (\S+)$", body, re.M)
        return float(found[1]) if found else 0.0

    async def counted() -> bool:
        return await value('hotline_events_total{kind="case.confirmed"}') == 1

    await until(counted)
    assert await value('hotline_events_total{kind="call.started"}') == 2
    assert await value('hotline_events_total{kind="call.ended"}') == 2
    assert await value('hotline_decisions_total{decision="auto",domain="urban"}') == 1
    assert await value('hotline_decisions_total{decision="confirm",domain="urban"}') == 1
    assert await value("hotline_store_up") == 1
    assert await value('hotline_span_seconds_count{span="stored_to_pulled"}') == 1
    assert await value('hotline_span_seconds_count{span="end_decided_to_stored"}') == 0  # not quiet yet
    present = clock.now
    monkeypatch.setattr(clock, "now", lambda: present() + timedelta(seconds=11))
    assert await value('hotline_span_seconds_count{span="end_decided_to_stored"}') == 2
    assert await value('hotline_span_seconds_sum{span="end_decided_to_stored"}') == pytest.approx(0.3)
    assert await value('hotline_span_seconds_bucket{le="0.2",span="end_decided_to_stored"}') == 2
    consumer = (await unit.get("/api/v1/me")).json()["id"]
    await unit.post("/api/v1/dispatch/ack", json={"position": 1})
    assert await value(f'hotline_feed_lag_seconds{{consumer="{consumer}"}}') > 11
    whole = (await client.get("/metrics")).text
    assert NUMBER not in whole
    assert not re.search(r"13800|幺", whole)


async def test_metrics_from_elsewhere_need_the_permission(api: Api) -> None:
    for name, value in (("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=203.0.113.9"), ("Via", "1.1 proxy")):
        problem(await api.client(**{name: value}).get("/metrics"), 401, "not_signed_in")
    unit = await api.with_key()
    problem(await unit.get("/metrics", headers={"Via": "1.1 proxy"}), 403, "permission_missing")
    monitor = await api.with_key("", "metrics:read")
    assert (await monitor.get("/metrics", headers={"Via": "1.1 proxy"})).status_code == 200


async def test_every_answer_is_guarded(api: Api) -> None:
    client = api.client()
    for path in ("/api/v1/me", "/api/v1/nothing", "/docs", "/openapi.json", "/healthz", "/readyz", "/metrics"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
    problem(await client.put("/healthz"), 405, "method_not_allowed")
    assert "frame-ancestors 'none'" in (await client.get("/login")).headers["content-security-policy"]
