"""The shipped router answers any text by the published schema, the same every time, in time."""

import io
import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from classifier import commands, taxonomy
from classifier.registry import Registry
from classifier.router import Router
from classifier.taxonomy import TaxonomyError

pytestmark = pytest.mark.unit

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "route.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
ROUTER = Router.load()
MANHOLE = "您好我要反映我们小区东门口有个井盖不见了昨天晚上有个老人差点掉进去请你们赶快派人来看看"


def checked(text: str, **given: object) -> dict[str, object]:
    answer = ROUTER.route(text, **given).to_json()  # type: ignore[arg-type]
    VALIDATOR.validate(answer)
    for start, end in answer["evidence"]:
        assert 0 <= start < end <= len(answer["text"])
    return json.loads(json.dumps(answer, ensure_ascii=False))


def test_schema_is_a_schema_and_can_refuse() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    answer = checked("路灯不亮")
    for broken in (
        {"decision": "maybe"},
        {"probability": 1.2},
        {"reasons": [], "decision": "confirm"},
        {"evidence": [[3]]},
    ):
        assert not VALIDATOR.is_valid({**answer, **broken})


def test_missing_manhole_cover_is_an_urban_part() -> None:
    answer = checked(MANHOLE)
    assert (answer["disposition"], answer["domain"]) == ("case", "urban")
    category = answer["category"]
    assert category["kind"] == "part"
    assert "井盖" in category["minor"]
    assert category["standard"] == "GB/T 30428.2-2013"
    assert answer["emergency"] is None
    assert "井盖" in "".join(MANHOLE[start:end] for start, end in answer["evidence"])


@pytest.mark.parametrize(
    ("text", "domain", "minor"),
    [
        ("柳泉路路灯不亮了一到晚上漆黑一片", "urban", "路灯"),
        ("工地半夜两点还在施工打桩吵得睡不着", "urban", "施工扰民"),
        ("老板拖欠我们三个月工资不给", "social", "拖欠工资"),
        ("饭店油烟直接排到我家窗户里", "urban", "油烟污染"),
        ("人行道上全是乱停的汽车走不过去", "urban", "机动车乱停放"),
        ("停水一整天了水龙头一滴水都不出", "social", "停水及水压"),
    ],
)
def test_plain_matters_are_sorted(text: str, domain: str, minor: str) -> None:
    answer = checked(text)
    offered = [answer["category"], *(a["category"] for a in answer["alternatives"])]
    assert answer["domain"] == domain
    assert minor in [category["minor"] for category in offered[:3]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "。",
        "a",
        "喂",
        "\x00\x01\x1b[31m\x7f",
        "\ud800路灯\udfff",
        "😀🚧🔥",
        "The street lamp in front of my house is broken",
        "１２３ＡＢＣ",
        "路燈壞了沒有人來修",
        "路\u200b灯\u0301不亮\ufeff",
        "\n\t路灯\r\n不亮",
        "路灯不亮" * 25_000,
        "a" * 100_000,
        "嗯" * 5000,
    ],
)
def test_any_text_gets_a_valid_answer_in_time(text: str) -> None:
    took = []
    for _ in range(3):  # what else a machine does only ever makes it slower: the best of three is the code's
        begun = time.process_time()
        answer = checked(text)
        took.append((time.process_time() - begun) * 1000)
    assert min(took) <= 50 * max(1.0, len(text) / 1000) + 100
    assert answer["decision"] == "confirm"
    if not any("\u4e00" <= c <= "\u9fff" for c in text):
        assert (answer["disposition"], answer["category"], answer["domain"]) == ("none", None, None)


@given(st.text(max_size=200))
@settings(max_examples=100, deadline=None)
def test_no_text_breaks_the_contract(text: str) -> None:
    checked(text)


def test_the_same_text_gives_the_same_answer_from_any_thread() -> None:
    texts = [MANHOLE, "老板拖欠工资", "请问居住证怎么办", "着火了快来人", "喂打错了"] * 10

    def answers() -> list[dict[str, object]]:
        return [{k: v for k, v in ROUTER.route(t).to_json().items() if k != "elapsed_ms"} for t in texts]

    expected, found = answers(), []
    threads = [threading.Thread(target=lambda: found.append(answers())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


def test_domain_probability_is_the_sum_of_its_categories() -> None:
    prediction = ROUTER.model.predict(MANHOLE)
    urban = float(prediction.categories[: len(ROUTER.model.urban)].sum())
    assert urban == pytest.approx(prediction.urban, abs=1e-9)
    assert float(prediction.categories.sum()) == pytest.approx(1.0, abs=1e-9)
    answer = checked(MANHOLE)
    assert answer["probability"] <= answer["domain_probability"] + 1e-6


def test_an_urban_city_can_say_so() -> None:
    text = "有人在那儿弄得一塌糊涂"
    asked = ROUTER.model.predict(text).urban
    assert ROUTER.model.predict(text, urban_prior=0.9).urban > asked > ROUTER.model.predict(text, urban_prior=0.1).urban
    with pytest.raises(ValueError, match=r"urban_prior 1\.5"):
        Router("x", ROUTER.model, urban_prior=1.5)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("着火了快来人", "emergency"),
        ("路灯不亮了", "no_place"),
        ("我们小区东门口路灯不亮了", "vague_place"),
        ("请替我保密，柳泉路三号天天乱倒垃圾", "secrecy"),
        ("我们村主任吃拿卡要不送礼不给办", "official_accused"),
        ("喂打错了打错了不好意思", "no_case"),
        ("请问办居住证需要什么材料", "question"),
        ("他喝了酒就打人，柳泉路三号", "violence"),
        ("我不想活了", "self_harm"),
        ("hello", "not_chinese"),
        ("路灯" * 3000, "long_text"),
    ],
)
def test_reasons_are_named(text: str, reason: str) -> None:
    answer = checked(text)
    assert reason in answer["reasons"]
    assert answer["decision"] == "confirm"


def test_traditional_characters_are_answered_as_simplified_ones() -> None:
    for traditional, simplified in (
        ("路燈壞了沒有人來修", "路灯坏了没有人来修"),
        ("老闆拖欠工資三個月", "老板拖欠工资三个月"),
    ):
        left, right = checked(traditional), checked(simplified)
        assert left["category"] == right["category"]
        assert left["probability"] == right["probability"]


@pytest.mark.parametrize("text", ["路灯不亮，柳泉路三号", "老板拖欠工资不给"])
def test_punctuation_and_blanks_are_no_cues(text: str) -> None:
    plain = checked(text.replace("，", ""))
    for changed in (text, text.replace("，", " "), text + "。", " " + text, text.replace("，", "！！")):
        answer = checked(changed)
        assert (answer["category"], answer["probability"]) == (plain["category"], plain["probability"])


def test_a_life_in_danger_brings_the_care_line_and_gas_its_crew() -> None:
    assert "12356" in checked("我不想活了我要从楼顶跳下去")["emergency"]["services"]
    assert checked("楼道有臭鸡蛋味，我开灯看看")["emergency"]["utilities"] == ["gas"]


def test_an_unknown_voice_is_never_auto() -> None:
    assert "unknown_voice" in checked(MANHOLE, knows_voice=False)["reasons"]
    assert "unknown_voice" not in checked(MANHOLE)["reasons"]


@pytest.mark.parametrize(
    ("words", "low"),
    [
        ([{"text": "路灯", "confidence": 0.95}, {"text": "不亮", "confidence": 0.9}], False),
        ([{"word": "路灯", "conf": 0.4}, {"word": "不亮", "conf": 0.5}], True),
        (
            [{"word": "柳泉路三十三号的", "conf": 1.0}, {"word": "路灯", "conf": 0.3}, {"word": "不亮", "conf": 1.0}],
            True,
        ),
        ([{"text": "路灯"}, {"confidence": 0.1}, {"text": 3, "confidence": "x"}], False),
        ([], False),
    ],
)
def test_badly_heard_words_are_a_reason(words: list[dict[str, object]], low: bool) -> None:
    answer = checked("柳泉路三十三号的路灯不亮", words=words)
    assert ("low_confidence_words" in answer["reasons"]) is low


def test_a_second_matter_stands_on_its_own() -> None:
    text = "柳泉路三号门口路灯不亮了，还有一个事，工地半夜施工打桩吵得睡不着"
    answer = checked(text)
    assert answer["secondary"] is not None
    assert answer["secondary"]["category"]["minor"] == "施工扰民"
    start, end = answer["secondary"]["span"]
    assert "工地半夜施工" in text[start:end]
    assert "two_matters" in answer["reasons"]


def test_auto_needs_the_threshold_and_no_reason() -> None:
    from dataclasses import replace

    sure = Router("sure", replace(ROUTER.model, auto_threshold=0.0))
    text = "柳泉路三十三号门口的路灯不亮了"
    answer = sure.route(text).to_json()
    VALIDATOR.validate(answer)
    assert (answer["decision"], answer["reasons"]) == ("auto", [])
    assert sure.route(text, knows_voice=False).decision == "confirm"
    assert Router("never", replace(ROUTER.model, auto_threshold=None)).route(text).reasons == ("low_probability",)


def test_another_standard_is_answered_in_its_own_codes() -> None:
    answer = checked("柳泉路路灯不亮了一到晚上漆黑一片", standard="GB/T 47678.5-2026")
    assert answer["category"]["standard"] == "GB/T 47678.5-2026"
    assert taxonomy.load("GB/T 47678.5-2026").by_code("part", answer["category"]["code"]).minor == "路灯"
    with pytest.raises(TaxonomyError, match="unknown standard"):
        ROUTER.route("路灯", standard="GB/T 1")


def test_batch_and_single_agree() -> None:
    texts = ["路灯不亮", "老板拖欠工资", ""]
    single = [ROUTER.route(text) for text in texts]
    for one, many in zip(single, ROUTER.route_many(texts), strict=True):
        left, right = one.to_json(), many.to_json()
        left.pop("elapsed_ms")
        right.pop("elapsed_ms")
        assert left == right


def test_route_command_answers_every_line_in_order() -> None:
    lines = [
        "路灯不亮",
        "",
        json.dumps({"text": "井盖不见了", "words": [{"word": "井盖", "conf": 0.2}]}, ensure_ascii=False),
        '{"text": 3}',
        '{"broken',
        json.dumps({"text": "\ud800"}),
        "[" * 5000,
        '{"a":' * 3000,
    ]
    out = io.StringIO()
    assert commands.route(io.StringIO("\n".join(lines) + "\n"), out, standard=None) == 0
    answers = [json.loads(line) for line in out.getvalue().splitlines()]
    assert len(answers) == len(lines)
    for answer in answers:
        VALIDATOR.validate(answer)
    assert [a["text"] for a in answers[:5]] == ["路灯不亮", "", "井盖不见了", '{"text": 3}', '{"broken']
    assert "low_confidence_words" in answers[2]["reasons"]
    out.getvalue().encode("utf-8")


def test_a_byte_that_is_no_utf8_costs_one_character() -> None:
    given = io.TextIOWrapper(io.BytesIO("路灯\n".encode() + b"\xff\xfe\n" + "井盖\n".encode()), encoding="utf-8")
    out = io.StringIO()
    assert commands.route(given, out) == 0
    assert [json.loads(line)["text"] for line in out.getvalue().splitlines()] == ["路灯", "\ufffd\ufffd", "井盖"]


def test_evaluate_command_tolerates_other_columns_and_counts_acceptable(tmp_path: Path) -> None:
    path = tmp_path / "calls.tsv"
    path.write_text(
        "id\ttext\tdomain\tkind\tmajor\tminor\tacceptable\tnote\n"
        "1\t柳泉路路灯不亮了一到晚上漆黑一片\turban\tpart\t公用设施\t路灯\t\tx\n"
        "2\t柳泉路路灯不亮了漆黑一片\turban\tpart\t公用设施\t地灯\t公用设施/景观灯;公用设施/路灯\tx\n"
        "3\t老板拖欠我们三个月工资不给\teither\t\t\t\t\tx\n",
        encoding="utf-8",
    )
    out = io.StringIO()
    assert commands.evaluate(path, as_json=True, out_stream=out) == 0
    result = json.loads(out.getvalue())
    assert result["rows"] == 3
    assert (result["domain"]["n"], result["domain"]["accuracy"]) == (2, 1.0)
    assert (result["category"]["n"], result["category"]["accuracy"]) == (2, 1.0)
    assert set(result["domain"]["coverage"]) == {"95%", "98%", "99%"}
    readable = io.StringIO()
    commands.evaluate(path, out_stream=readable)
    for word in ("accuracy", "macro-F1", "top-3", "ECE", "coverage", "confusion matrix"):
        assert word in readable.getvalue()


def test_evaluate_names_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "calls.tsv"
    path.write_text("id\ttext\tdomain\tmajor\tminor\n1\t路灯\turban\t公用设施\t飞船\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"calls\.tsv:2: column minor"):
        commands.evaluate(path, out_stream=io.StringIO())


def test_the_shipped_card_says_what_the_shipped_model_is() -> None:
    registry = Registry()
    version, model = registry.load()
    card = registry.card(version)
    assert card["counts"]["terms"] == len(model.space)
    assert card["auto_threshold"] == model.auto_threshold
    assert card["figures"]["clean"]["domain"]["accuracy"] > 0.85


def test_a_gazetteer_gives_the_area_also_of_a_misheard_name() -> None:
    from classifier.gazetteer import Gazetteer

    known = Gazetteer({"柳泉路": "370301", "柳泉路小学": "370302", "南湖": None, "泉": "1"})
    router = Router("x", ROUTER.model, gazetteer=known)
    assert router.route("柳泉路小学门口路灯不亮").area == "370302"
    assert router.route("刘全路上路灯不亮").area == "370301"
    assert router.route("南湖边上路灯不亮").area is None
    assert router.route("难胡说八道").area is None
    assert router.route("泉").area is None
    answer = router.route("路灯不亮刘泉路").to_json()
    VALIDATOR.validate(answer)
    assert answer["address"] is not None
    assert ROUTER.route("柳泉路上路灯不亮").area is None


def test_departments_share_their_categories_probability() -> None:
    router = Router.load()
    answer = router.route("解放路口污水井盖不见了")
    assert answer.department == "市政设施管理处"
    assert answer.department_probability >= answer.probability - 0.05
    assert answer.to_json()["department"] == answer.department
    nothing = router.route("嗯")
    assert (nothing.department, nothing.department_probability) == (None, 0.0)


def test_a_model_without_departments_goes_by_the_category_alone() -> None:
    version, model = Registry().load(None)
    older = Router(version, replace(model, units=()))
    answer = older.route("解放路口污水井盖不见了")
    assert (answer.department, answer.department_probability) == (None, answer.probability)
