"""The knowledge base: what questions are answered from."""

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field

from api.errors import Problem, not_found, responses
from api.security import address_of, require, services_of, signed_in
from api.v1.values import Body, Words
from callcenter import clock
from callcenter.access.permissions import Permission
from callcenter.access.principal import Principal
from callcenter.cases import knowledge
from callcenter.cases.lists import KnowledgeArticle

router = APIRouter(prefix="/api/v1", tags=["knowledge"])

Reader = Annotated[Principal, signed_in()]
Editor = Annotated[Principal, require(Permission.LISTS_MANAGE)]

Code = Annotated[str, Path(pattern=r"^[0-9A-Za-z][0-9A-Za-z._-]{0,39}$", description="an article's code")]
Limit = Annotated[int, Query(ge=1, le=200, description="items of one page")]
Version = Annotated[int, Field(ge=0, le=2**31 - 1)]


class ArticleIn(Body):
    """What an article is to say."""

    expected_version: Version = Field(description="the newest you saw; 0 for a new article", examples=[0])
    title: Annotated[str, Words, Field(min_length=1, max_length=200)] = Field(examples=["公积金怎么提取"])
    answer: Annotated[str, Words, Field(min_length=1, max_length=knowledge.LONGEST_ANSWER)]
    source: Annotated[str, Words, Field(min_length=1, max_length=200)] = Field(
        description="where the answer comes from"
    )
    source_date: date | None = None
    owner_unit_id: UUID | None = Field(None, description="the unit that answers for it")
    standard: Annotated[str, Field(max_length=40)] = ""
    kind: Annotated[str, Field(max_length=16)] = ""
    category_code: Annotated[str, Field(max_length=16)] = ""
    review_by: date = Field(description="the last day on which it may be believed without another look")


class Withdrawal(Body):
    """An article to withdraw."""

    expected_version: Version = Field(description="the newest you saw", examples=[3])


class ArticleOut(BaseModel):
    """One version of an article."""

    id: UUID = Field(description="of this version: what an answer is recorded with")
    code: str = Field(examples=["gjj-01"])
    version: int = Field(examples=[3])
    title: str = Field(examples=["公积金怎么提取"])
    answer: str
    source: str
    source_date: date | None
    owner_unit_id: UUID | None
    standard: str
    kind: str
    category_code: str
    review_by: date
    written_by: str
    written_at: datetime
    withdrawn_at: datetime | None = Field(description="since when it is no longer offered")
    overdue: bool = Field(description="its review was due before today")


class ArticleList(BaseModel):
    """Articles."""

    items: list[ArticleOut]


class HitOut(BaseModel):
    """An article found, with how well it fits: only good for comparing hits of one search."""

    score: float
    article: ArticleOut


class HitList(BaseModel):
    """What was found, the best first."""

    items: list[HitOut]


def _today() -> date:
    return clock.local(clock.now()).date()


def _out(article: KnowledgeArticle) -> ArticleOut:
    values = {name: getattr(article, name) for name in ArticleOut.model_fields if name != "overdue"}
    return ArticleOut(**values, overdue=article.withdrawn_at is None and article.review_by < _today())


def _refused(fault: knowledge.KnowledgeError) -> Problem:
    if isinstance(fault, knowledge.ArticleMoved):
        return Problem(409, "conflict", str(fault))
    if isinstance(fault, knowledge.NoArticle):
        return not_found("an article with that code")
    return Problem(422, "value_refused", str(fault))


@router.get("/knowledge", summary="List articles", responses=responses())
async def list_articles(
    _: Reader,
    request: Request,
    overdue: Annotated[bool, Query(description="only those whose review is overdue, the longest first")] = False,
    after: Annotated[str, Query(max_length=40, description="the last `code` of the page before")] = "",
    limit: Limit = 50,
) -> ArticleList:
    """Those in force, by code."""
    async with services_of(request).db.read() as session:
        if overdue:
            found = await knowledge.overdue(session, _today(), limit=limit)
        else:
            found = await knowledge.offered(session, after=after, limit=limit)
    return ArticleList(items=[_out(article) for article in found])


@router.get("/knowledge/search", summary="Search articles", responses=responses())
async def search_articles(
    _: Reader,
    request: Request,
    words: Annotated[str, Query(min_length=1, max_length=knowledge.LONGEST_QUERY, description="as people ask")],
    limit: Annotated[int, Query(ge=1, le=knowledge.MOST_HITS)] = 10,
) -> HitList:
    """By words in title and answer; withdrawn articles are not offered."""
    async with services_of(request).db.read() as session:
        found = await knowledge.search(session, words, _today(), limit=limit)
    return HitList(items=[HitOut(score=round(hit.score, 3), article=_out(hit.article)) for hit in found])


@router.get("/knowledge/{code}", summary="One article", responses=responses(404))
async def get_article(
    code: Code,
    _: Reader,
    request: Request,
    version: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="default: the newest")] = None,
) -> ArticleOut:
    """Withdrawn or not: old answers point at it."""
    try:
        async with services_of(request).db.read() as session:
            return _out(await knowledge.article(session, code, version))
    except knowledge.KnowledgeError as fault:
        raise _refused(fault) from None


@router.put("/knowledge/{code}", summary="Write an article", responses=responses(409))
async def write_article(code: Code, new: ArticleIn, principal: Editor, request: Request) -> ArticleOut:
    """As its next version; 409 when somebody wrote one since `expected_version`. Audited."""
    draft = knowledge.Draft(**new.model_dump(exclude={"expected_version"}))
    actor = principal.actor(address_of(request))
    try:
        async with services_of(request).db.begin() as session:
            return _out(
                await knowledge.write(
                    session, code, draft, expected_version=new.expected_version, actor=actor, at=clock.now()
                )
            )
    except knowledge.KnowledgeError as fault:
        raise _refused(fault) from None


@router.post("/knowledge/{code}/withdraw", summary="Withdraw an article", responses=responses(404, 409))
async def withdraw_article(code: Code, which: Withdrawal, principal: Editor, request: Request) -> ArticleOut:
    """It is no longer offered; answers given from it can still be read. Audited."""
    actor = principal.actor(address_of(request))
    try:
        async with services_of(request).db.begin() as session:
            return _out(
                await knowledge.withdraw(
                    session, code, expected_version=which.expected_version, actor=actor, at=clock.now()
                )
            )
    except knowledge.KnowledgeError as fault:
        raise _refused(fault) from None
