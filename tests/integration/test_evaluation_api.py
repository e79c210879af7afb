"""Evaluation over HTTP: names, parts of each rate, recomputation, and what is refused."""

from uuid import UUID

import pytest
from sqlalchemy import update

from callcenter.insight.evaluation_model import CELLS
from callcenter.insight.evaluations import fold
from tests.api import Api, api
from tests.evaluating import AT, CODES, UNITS, City, filled

__all__ = ["api"]

pytestmark = pytest.mark.integration


async def test_the_api_answers_with_names_and_parts(api: Api) -> None:
    city = City(api.services.db)
    await city.found()
    await filled(city)
    client = await api.signed_in("supervisor")
    answer = await client.get("/api/v1/evaluation", params={"by": "unit", "from": "2026-10-01", "to": "2026-10-31"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["by"] == "unit"
    assert {row["name"] for row in found["rows"]} == {"单位11", "单位12", "单位13"}
    handling = found["rows"][0]["rates"]["handling_on_time"]
    assert set(handling) == {"numerator", "denominator", "exclusions", "rate"}
    assert handling["rate"] == pytest.approx(handling["numerator"] / handling["denominator"])
    assert set(handling["exclusions"]) == {"returned", "appeal_granted"}
    assert found["rows"][0]["share"]["denominator"] == found["total"]["counts"]["reported"]
    assert found["rows"][0]["means"]["handling_time"] > 0
    names = (await client.get("/api/v1/evaluation/indicators")).json()
    assert len(names["rates"]) == 44
    assert names["rates"][0]["zh"] == "结案率"
    by_day = await client.get(
        "/api/v1/evaluation",
        params={"by": "day", "from": "2026-10-01", "to": "2026-10-31", "unit": str(UNITS[0]), "domain": "urban"},
    )
    assert by_day.status_code == 200, by_day.text
    assert 0 < len(by_day.json()["rows"]) <= 31
    spots = (await client.get("/api/v1/evaluation/hot-spots", params={"from": "2026-10-01", "to": "2026-10-31"})).json()
    assert spots["rows"][0]["area"]["name"] == "区域2"
    assert spots["rows"][0]["category"]["code"] in CODES


async def test_the_api_recomputes_and_says_whether_anything_differed(api: Api) -> None:
    city = City(api.services.db)
    await city.found()
    await filled(city)
    client = await api.signed_in("supervisor")
    async with city.db.begin() as session:
        await session.execute(update(CELLS).where(CELLS.c.axis == "unit").values(handled_on_time=9))
    answer = await client.post("/api/v1/evaluation/recompute")
    assert answer.status_code == 200, answer.text
    assert answer.json()["differed"] > 0
    assert (await client.post("/api/v1/evaluation/recompute")).json() | {"seconds": 0} == {
        **{"cases": 30, "differed": 0, "examples": [], "seconds": 0}
    }


@pytest.mark.parametrize(
    ("params", "names"),
    [
        ({"by": "day", "from": "2026-10-02", "to": "2026-10-01"}, "query.from"),
        ({"by": "area", "level": "5", "from": "2026-10-02", "to": "2026-10-31"}, "2026-10-01"),
        ({"by": "unit", "from": "1990-01-01", "to": "2026-10-31"}, "query.from"),
        ({"by": "unit", "unit": str(UUID(int=1))}, "by=day"),
        ({"by": "weather"}, "query.by"),
    ],
)
async def test_the_api_refuses_what_cannot_be_asked(api: Api, params: dict[str, str], names: str) -> None:
    client = await api.signed_in("supervisor")
    await fold(api.services.db, AT)
    answer = await client.get("/api/v1/evaluation", params=params)
    assert answer.status_code == 422
    assert names in answer.text


async def test_an_agent_and_a_unit_see_no_evaluation(api: Api) -> None:
    for role in ("agent", "dispatcher"):
        client = await api.signed_in(role)
        assert (await client.get("/api/v1/evaluation", params={"by": "unit"})).status_code == 403
        assert (await client.post("/api/v1/evaluation/recompute")).status_code == 403
