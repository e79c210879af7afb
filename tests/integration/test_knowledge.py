"""The knowledge base, the lists and the city's trees: in both stores, and over HTTP."""

import random
import statistics
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from callcenter.access.audit import Actor, entries
from callcenter.cases import knowledge
from callcenter.cases.knowledge import (
    ArticleMoved,
    BadArticle,
    Draft,
    Index,
    NoArticle,
    counted,
    search,
    tokens,
    withdraw,
    write,
)
from callcenter.cases.lists import KnowledgeArticle
from callcenter.storage.engine import Database
from tests.api import Api, api

__all__ = ["api"]

pytestmark = pytest.mark.integration

AT = datetime(2026, 3, 4, 2, 0, tzinfo=UTC)
TODAY = date(2026, 3, 4)
ME = Actor("user", str(uuid4()))


def draft(title: str, answer: str = "按规定办理。", **changes: Any) -> Draft:
    return Draft(**{"title": title, "answer": answer, "source": "市政府令", "review_by": date(2026, 12, 31), **changes})


async def written(db: Database, code: str, what: Draft, seen: int = 0, at: datetime = AT) -> KnowledgeArticle:
    async with db.begin() as session:
        return await write(session, code, what, expected_version=seen, actor=ME, at=at)


async def hits(db: Database, words: str) -> list[str]:
    async with db.read() as session:
        return [f"{hit.article.code}.{hit.article.version}" for hit in await search(session, words, TODAY)]


def indexed(texts: Mapping[UUID, Counter[str]]) -> Index:
    index = Index()
    for key, counts in texts.items():
        index.add(key, counts)
    return index


# -- versions ----------------------------------------------------------------------------------------------------------
async def test_a_change_is_a_version_and_an_old_answer_stays(db: Database) -> None:
    first = await written(db, "gjj", draft("公积金怎么提取", "带身份证到中心办理。"))
    second = await written(db, "gjj", draft("公积金怎么提取", "网上办理即可。"), seen=1)
    assert (first.version, second.version) == (1, 2)
    assert await hits(db, "公积金提取") == ["gjj.2"]
    async with db.read() as session:
        assert (await knowledge.article(session, "gjj")).answer == "网上办理即可。"
        assert (await knowledge.article(session, "gjj", 1)).answer == "带身份证到中心办理。"
        assert (await knowledge.article_by_id(session, first.id)).version == 1
        audited = [one for one in await entries(session) if one.action == "article written"]
    assert [(one.detail["code"], one.detail["version"]) for one in audited] == [("gjj", 2), ("gjj", 1)]
    assert not any("公积金" in str(one.detail) for one in audited)


async def test_two_editors_at_once(db: Database) -> None:
    await written(db, "gjj", draft("一"))
    await written(db, "gjj", draft("二"), seen=1)
    with pytest.raises(ArticleMoved, match="is at version 2, you saw 1"):
        await written(db, "gjj", draft("三"), seen=1)
    with pytest.raises(ArticleMoved):
        await written(db, "gjj", draft("新"), seen=0)
    async with db.begin() as session:
        with pytest.raises(ArticleMoved):
            await withdraw(session, "gjj", expected_version=1, actor=ME, at=AT)
    async with db.read() as session:
        assert await session.scalar(select(func.count()).select_from(KnowledgeArticle)) == 2


async def test_what_is_withdrawn_is_kept_but_not_offered(db: Database) -> None:
    kept = await written(db, "snow", draft("扫雪归谁管"))
    await written(db, "gas", draft("燃气报修电话"))
    assert await hits(db, "扫雪") == ["snow.1"]
    for _ in range(2):
        async with db.begin() as session:
            await withdraw(session, "snow", expected_version=1, actor=ME, at=AT)
    assert await hits(db, "扫雪") == []
    async with db.read() as session:
        assert (await knowledge.article_by_id(session, kept.id)).withdrawn_at == AT
        assert [one.code for one in await knowledge.offered(session)] == ["gas"]
        assert len([one for one in await entries(session) if one.action == "article withdrawn"]) == 1
    await written(db, "snow", draft("扫雪归谁管"), seen=1)
    assert await hits(db, "扫雪") == ["snow.2"], "a new version takes it up again"
    async with db.begin() as session:
        with pytest.raises(NoArticle):
            await withdraw(session, "nothing", expected_version=1, actor=ME, at=AT)
    async with db.read() as session:
        for bad in (knowledge.article(session, "nothing"), knowledge.article_by_id(session, uuid4())):
            with pytest.raises(NoArticle):
                await bad


async def test_overdue_reviews_are_listed(db: Database) -> None:
    for code, day in (("late", 1), ("later", 2), ("today", 4), ("fine", 9)):
        await written(db, code, draft(f"{code} 垃圾清运时间", review_by=date(2026, 3, day)))
    await written(db, "renewed", draft("垃圾清运时间", review_by=date(2026, 1, 1)))
    await written(db, "renewed", draft("垃圾清运时间", review_by=date(2027, 1, 1)), seen=1)
    await written(db, "gone", draft("垃圾清运时间", review_by=date(2026, 1, 1)))
    async with db.begin() as session:
        await withdraw(session, "gone", expected_version=1, actor=ME, at=AT)
    async with db.read() as session:
        assert [one.code for one in await knowledge.overdue(session, TODAY)] == ["late", "later"]
        found = await search(session, "垃圾清运", TODAY)
    assert {hit.article.code for hit in found if hit.overdue} == {"late", "later"}


@pytest.mark.parametrize(
    ("code", "changes", "said"),
    [
        ("", {}, "code has 0"),
        ("x" * 41, {}, "code has 41"),
        ("a", {"title": " "}, "title has 1"),
        ("a", {"answer": "长" * 20_001}, "answer has 20001"),
        ("a", {"answer": "nul\0"}, "answer has 4"),
        ("a", {"source": ""}, "source has 0"),
        ("a", {"owner_unit_id": uuid4()}, "no unit"),
        ("a", {"standard": "GB/T 30428.2-2013", "kind": "part", "category_code": "9999"}, "has no part with code 9999"),
    ],
)
async def test_what_no_article_can_be(db: Database, code: str, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadArticle, match=said):
        await written(db, code, draft(**{"title": "题", **changes}))


# -- search ------------------------------------------------------------------------------------------------------------
async def test_the_best_fit_comes_first(db: Database) -> None:
    await written(db, "cover", draft("雨水井盖丢了找谁", "由市政设施管理处补装。"))
    await written(db, "road", draft("道路破损找谁", "含井盖周边路面，由市政设施管理处修补。"))
    await written(db, "fund", draft("公积金怎么提取", "到公积金中心办理。"))
    assert await hits(db, "井盖") == ["cover.1", "road.1"], "a title says more than an answer"
    assert await hits(db, "井盖不见了") == ["cover.1", "road.1"]
    assert await hits(db, "公积金") == ["fund.1"]
    assert await hits(db, "ＧＪＪ！？") == []
    assert await hits(db, "") == []
    await written(db, "cover2", draft("井盖响怎么办", "井盖垫上胶圈。"), at=AT + timedelta(seconds=1))
    assert "cover2.1" in await hits(db, "井盖"), "the index follows what is written"


def test_words_and_pairs() -> None:
    assert {"雨水", "水井", "井盖"} <= set(tokens("雨水井盖"))
    assert tokens("井盖").count("井盖") == 1
    assert "12319" in tokens("打12319，可以")
    assert tokens("，。！") == []


@given(st.lists(st.text("井盖路灯坏了漏水垃圾", min_size=2, max_size=12), min_size=1, max_size=8, unique=True))
def test_a_title_finds_its_own_article(titles: list[str]) -> None:
    texts = {uuid4(): counted(title, "") for title in titles}
    index = indexed(texts)
    for key, counts in texts.items():
        found = index.find(titles[list(texts).index(key)], len(titles))
        scores = dict(found)
        assert scores[key] > 0
        assert [score for _, score in found] == sorted(scores.values(), reverse=True)
        assert all(set(counts) & set(texts[other]) for other in scores), "nothing is found that shares no word"


@given(st.lists(st.text("井盖路灯坏了漏水垃圾", min_size=2, max_size=12), min_size=1, max_size=8), st.data())
def test_what_is_taken_out_leaves_nothing_behind(titles: list[str], data: st.DataObject) -> None:
    texts = {uuid4(): counted(title, "") for title in titles}
    gone = data.draw(st.sets(st.sampled_from(list(texts))))
    index = indexed(texts)
    for key in [*gone, uuid4()]:
        index.remove(key)
    without = indexed({key: counts for key, counts in texts.items() if key not in gone})
    assert (index.counts, index.lengths, index.total) == (without.counts, without.lengths, without.total)
    assert {token: keys for token, keys in index.postings.items() if keys} == without.postings


def test_a_search_over_ten_thousand_articles_is_quick() -> None:
    draw = random.Random(1)
    letters = "市政供水燃气垃圾清运井盖路灯道路绿化停车公积金社保医保学校户口租房办理提取缴费时间地点材料电话"
    texts = {uuid4(): counted("", "".join(draw.choices(letters, k=60))) for _ in range(10_000)}
    index = indexed(texts)
    took = []
    for _ in range(21):
        began = time.process_time()
        assert len(index.find("".join(draw.choices(letters, k=12)), 10)) == 10
        took.append(time.process_time() - began)
    assert statistics.median(took) < 0.1, "measured: some 5 ms"


# -- over HTTP ---------------------------------------------------------------------------------------------------------
def body(title: str, seen: int = 0, **changes: Any) -> dict[str, Any]:
    day = {"source": "市政府令", "review_by": "2020-01-01"}
    return {"title": title, "answer": "按规定办理。", "expected_version": seen, **day, **changes}


async def test_articles_over_http(api: Api) -> None:
    keeper, agent = await api.signed_in("maintainer"), await api.signed_in("agent")
    assert (await agent.put("/api/v1/knowledge/gjj", json=body("公积金怎么提取"))).status_code == 403
    made = await keeper.put("/api/v1/knowledge/gjj", json=body("公积金怎么提取"))
    assert (made.status_code, made.json()["version"], made.json()["overdue"]) == (200, 1, True)
    assert (await keeper.put("/api/v1/knowledge/gjj", json=body("又一"))).json()["code"] == "conflict"
    found = (await agent.get("/api/v1/knowledge/search", params={"words": "提取公积金"})).json()["items"]
    assert [(one["article"]["code"], one["score"] > 0) for one in found] == [("gjj", True)]
    late = (await agent.get("/api/v1/knowledge", params={"overdue": True})).json()["items"]
    assert [one["code"] for one in late] == ["gjj"]
    gone = await keeper.post("/api/v1/knowledge/gjj/withdraw", json={"expected_version": 1})
    assert gone.json()["withdrawn_at"]
    assert (await agent.get("/api/v1/knowledge/search", params={"words": "提取公积金"})).json()["items"] == []
    assert (await agent.get("/api/v1/knowledge")).json()["items"] == []
    assert (await agent.get("/api/v1/knowledge/gjj")).json()["answer"] == "按规定办理。"
    assert (await agent.get("/api/v1/knowledge/gjj", params={"version": 7})).status_code == 404
    wrong = body("题", category_code="9", kind="part", standard="GB/T 30428.2-2013")
    assert (await keeper.put("/api/v1/knowledge/b", json=wrong)).status_code == 422


async def test_lists_and_units_over_http(api: Api) -> None:
    keeper, agent = await api.signed_in("maintainer"), await api.signed_in("agent")
    for new in (
        {"code": "4208", "name": "荆门市", "level": 1},
        {"code": "420802", "name": "东宝区", "level": 2, "parent": "4208"},
    ):
        assert (await keeper.post("/api/v1/areas", json=new)).status_code == 201
    unit = {"code": "sz01", "name": "市政处", "kind": "department", "duty_phone": "0724-12319"}
    assert (await agent.post("/api/v1/units", json=unit)).status_code == 403
    assert (await keeper.post("/api/v1/units", json=unit)).status_code == 201
    assert (await keeper.post("/api/v1/units", json=unit)).status_code == 409
    assert (await keeper.post("/api/v1/units", json={**unit, "code": "x", "parent": "y"})).status_code == 422
    phones = [(await who.get("/api/v1/units")).json()["items"][0]["duty_phone"] for who in (keeper, agent)]
    assert phones == ["0724-12319", ""]
    assert [one["code"] for one in (await agent.get("/api/v1/areas", params={"after": "4208"})).json()["items"]] == [
        "420802"
    ]

    text = (
        "code,kind,category_code,area,unit,filing_condition,closing_condition,limit_value,limit_unit\n"
        "A1,part,0101,420802,{},不见了,盖好,2,urgent_hour\n"
    )
    csv = {"Content-Type": "text/csv"}
    refused = await keeper.post("/api/v1/lists/import", content=text.format("nobody").encode("gbk"), headers=csv)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["where"] == "row 2, unit"
    assert (await agent.get("/api/v1/lists")).json()["items"] == []
    for new_version in (True, False):
        done = await keeper.post("/api/v1/lists/import", content=text.format("sz01").encode("gbk"), headers=csv)
        assert (done.status_code, done.json()["version"], done.json()["new"]) == (200, 1, new_version)
    assert [one["items"] for one in (await agent.get("/api/v1/lists")).json()["items"]] == [1]
    patrol = "编号,名称,类型,小类编码\nP1,看井盖,部件,0101\n".encode()
    assert (await keeper.post("/api/v1/lists/patrol/import", content=patrol, headers=csv)).json()["rows"] == 1
    assert (await agent.get("/api/v1/lists/patrol")).json()["items"][0]["name"] == "看井盖"
    assert (await keeper.post("/api/v1/lists/import", content=b"", headers=csv)).status_code == 422
    assert (await agent.post("/api/v1/lists/import", content=patrol, headers=csv)).status_code == 403

    rule = {"source": "web", "mode": "exempt"}
    assert (await keeper.put("/api/v1/lists/verification", json=rule)).json()["items"][0]["mode"] == "exempt"
    dropped = await keeper.put("/api/v1/lists/verification", json={**rule, "mode": None})
    assert dropped.json()["items"] == []
    assert (await keeper.patch("/api/v1/units/sz01", json={"active": False})).json()["active"] is False
    assert (await keeper.patch("/api/v1/units/none", json={"active": False})).status_code == 404
