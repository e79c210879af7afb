"""The shipped filing rules, and what an import refuses."""

import csv
import io
from uuid import uuid4

import pytest

from callcenter.cases import filing_rules
from callcenter.cases.deadlines import Limit, LimitUnit
from callcenter.cases.list_import import Item, parse_items, parse_patrol
from callcenter.tables.rows import MOST_FAULTS, TableRefused
from classifier import taxonomy

pytestmark = pytest.mark.unit

GB = taxonomy.DEFAULT_STANDARD
AREAS, UNITS = {"420802": uuid4()}, {"sz01": uuid4()}
ROW = {
    "code": "A1",
    "standard": GB,
    "kind": "part",
    "category_code": "0101",
    "area": "420802",
    "unit": "sz01",
    "filing_condition": "盖子不见了",
    "closing_condition": "盖好",
    "limit_value": "2",
    "limit_unit": "urgent_hour",
    "line": "city",
    "level": "3",
}


def table(*rows: dict[str, str]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def parsed(*rows: dict[str, str]) -> list[Item]:
    return parse_items(table(*rows).encode(), AREAS, UNITS)


def refused(*rows: dict[str, str]) -> list[tuple[int, str]]:
    with pytest.raises(TableRefused) as caught:
        parsed(*rows)
    assert all(fault.mend for fault in caught.value.faults)
    return [(fault.row, fault.column) for fault in caught.value.faults]


# -- what is shipped ---------------------------------------------------------------------------------------------------
def test_every_shipped_rule_is_of_a_category_that_there_is() -> None:
    rules = filing_rules.loaded()
    known = {(GB, entry.category.kind, entry.category.code) for entry in taxonomy.load(GB).entries}
    assert set(rules) <= known
    assert (len(rules), sum(map(len, rules.values()))) == (132, 372)
    assert filing_rules.loaded() is rules, "read once a process"


@pytest.mark.parametrize(
    ("kind", "code", "limits"),
    [  # DOMAIN.md §1, "Typical"
        ("part", "0101", ["2 urgent_hour", "4 work_hour", "2 work_day", "5 work_day"]),
        ("part", "0104", ["2 urgent_hour", "4 work_hour", "2 work_day", "5 work_day", "1 work_day"]),
        ("event", "0101", ["2 urgent_day", "15 work_day"]),
        ("event", "0110", ["4 work_hour"]),
        ("event", "0112", ["2 work_hour"]),
        ("event", "0201", ["1 work_day"]),
        ("event", "0501", ["1 urgent_hour", "5 work_day"]),
        ("event", "0507", ["4 work_hour"]),
        ("event", "0508", ["2 work_hour"]),
    ],
)
def test_shipped_limits_are_those_of_the_table(kind: str, code: str, limits: list[str]) -> None:
    found = [f"{rule.limit.value:g} {rule.limit.unit.value}" for rule in filing_rules.rules_for(GB, kind, code)]
    assert found == limits


def test_a_shipped_rule_names_neither_area_nor_unit() -> None:
    rules = [rule for rules in filing_rules.loaded().values() for rule in rules]
    assert all(rule.area_id is None and rule.unit_id is None for rule in rules)
    assert {rule.line for rule in rules} == {"city", "traffic", "security"}
    assert {rule.level for rule in rules} == {1, 2, 3, 4}
    urgent = [rule for rule in rules if rule.limit.unit.on_clock and rule.kind == "part"]
    assert urgent
    assert all(rule.level >= 3 for rule in urgent), "a danger is never a grid worker's own matter"


def test_another_standard_takes_the_rules_of_the_same_thing() -> None:
    cover = taxonomy.load("GB/T 47678.5-2026").find("part", "市政公用设施", "供水井盖")
    rules = filing_rules.rules_for(cover.standard, cover.kind, cover.code)
    assert [rule.code for rule in rules] == ["B0101-1", "B0101-2", "B0101-3", "B0101-4"]
    assert filing_rules.rules_for("no such standard", "part", "0101") == ()
    assert filing_rules.rules_for(GB, "part", "9999") == ()
    assert filing_rules.rules_for("social", "social", "S0101") == ()


# -- what an import reads ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030"])
def test_a_list_is_read_in_each_encoding(encoding: str) -> None:
    [item] = parse_items(table(ROW).encode(encoding), AREAS, UNITS)
    assert (item.area_id, item.unit_id) == (AREAS["420802"], UNITS["sz01"])
    assert item.filing_condition == "盖子不见了"
    assert item.limit == Limit(2, LimitUnit.URGENT_HOUR)


def test_chinese_columns_and_words_are_read() -> None:
    text = (
        "# 荆门市\n\n事项编号,类型,小类编码,小类,区域,责任单位,立案条件,结案条件,时限,时限单位,管理线,层级,备注\n"
        "A1,部件,０１０１,井盖,,,盖子不见了,盖好,２,紧急工作时,交通管理,片区,x\n"
        "A2,社会,S0101,,,,吵架,和解,5,工作日,,,\n"
    )
    first, second = parse_items(text.encode("gbk"), {}, {})
    assert (first.standard, first.kind, first.category_code) == (GB, "part", "0101")
    assert (first.line, first.level, first.limit) == ("traffic", 2, Limit(2, LimitUnit.URGENT_HOUR))
    assert (first.area_id, first.unit_id) == (None, None)
    assert (second.standard, second.line, second.level) == ("social", "society", 3)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("code", ""),
        ("code", "x" * 41),
        ("standard", "GB/T 0"),
        ("kind", "thing"),
        ("category_code", "0198"),
        ("area", "nowhere"),
        ("unit", "nobody"),
        ("filing_condition", ""),
        ("closing_condition", "长" * 401),
        ("closing_condition", "bell\x07"),
        ("limit_value", ""),
        ("limit_value", "0"),
        ("limit_value", "-1"),
        ("limit_value", "nan"),
        ("limit_value", "inf"),
        ("limit_value", "1e9"),
        ("limit_value", "两天"),
        ("limit_unit", "week"),
        ("limit_unit", ""),
        ("line", "money"),
        ("level", "9"),
    ],
)
def test_a_wrong_cell_is_named(column: str, value: str) -> None:
    assert refused(ROW, {**ROW, "code": "A2", "filing_condition": "盖破", column: value}) == [(3, column)]


def test_a_dropped_zero_is_pointed_out() -> None:
    with pytest.raises(TableRefused, match=r"row 2, category_code: '101': .*drop a zero\? 0101"):
        parsed({**ROW, "category_code": "101"})


def test_duplicates_name_the_first() -> None:
    with pytest.raises(TableRefused, match="row 3, code: 'A1': is there already, in row 2"):
        parsed(ROW, {**ROW, "filing_condition": "盖破"})
    assert refused(ROW, {**ROW, "code": "A2", "limit_value": "9"}) == [(3, "filing_condition")]
    assert len(parsed(ROW, {**ROW, "code": "A2", "unit": ""})) == 2, "another unit for the same: a joint matter"


def test_every_fault_is_told_at_once_up_to_a_bound() -> None:
    assert refused({**ROW, "area": "x", "unit": "y"}, {**ROW, "code": "A2", "limit_unit": "z"}) == [
        (2, "area"),
        (2, "unit"),
        (3, "limit_unit"),
    ]
    assert len(refused(*[{**ROW, "code": f"A{n}", "area": "x"} for n in range(300)])) == MOST_FAULTS


def test_rows_are_counted_as_the_file_shows_them() -> None:
    text = table({**ROW, "filing_condition": "两\n行"}, {**ROW, "code": "A2", "unit": "nobody"})
    with pytest.raises(TableRefused) as caught:
        parse_items(("# a remark\n" + text).encode(), AREAS, UNITS)
    assert [fault.row for fault in caught.value.faults] == [5]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "has no rows"),
        (table(ROW).encode().splitlines()[0], "has no rows"),
        (b"PK\x03\x04rest", "workbook"),
        ("﻿事项".encode("utf-16"), "neither UTF-8 nor GBK"),
        (b"\xff\xff\xff", "neither UTF-8 nor GBK"),
        (table(ROW).replace("unit,", "untl,", 1).encode(), "'untl': is no column"),
        (table(ROW).replace("area,", "", 1).encode(), "'area': is missing"),
        (table(ROW).replace("level", "line", 1).encode(), "'line': is there twice"),
        (table(ROW).encode() + b'A2,"open', "quote cells"),
        (table(ROW).encode() + b"A2,GB\r\n", "2 cells, the columns are 12"),
    ],
)
def test_a_file_that_is_no_list_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(TableRefused, match=said):
        parse_items(data, AREAS, UNITS)


def test_a_patrol_list() -> None:
    text = "编号,名称,类型,小类编码,周期天数\nP1,看井盖,部件,0101,7\nP2,看垃圾,事件,0110,\n"
    first, second = parse_patrol(text.encode("gbk"))
    assert (first["name"], first["every_days"], first["standard"]) == ("看井盖", 7, GB)
    assert second["every_days"] is None
    for wrong, column in (
        ("P1,看,部件,0101,0", "every_days"),
        ("P1,看,部件,0101,七", "every_days"),
        ("P1,,部件,0101,", "name"),
    ):
        with pytest.raises(TableRefused) as caught:
            parse_patrol(f"编号,名称,类型,小类编码,周期天数\n{wrong}\n".encode())
        assert [fault.column for fault in caught.value.faults] == [column]
