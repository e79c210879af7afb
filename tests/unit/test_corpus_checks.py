"""The corpus is what it says it is, and a wrong labelled file names row and column and trains on nothing."""

import io
from collections import Counter
from pathlib import Path

import pytest

from classifier import commands, corpus, training
from classifier.benchmark import score
from classifier.corpus import CorpusError, Row
from classifier.registry import Registry

pytestmark = pytest.mark.unit

HEADER = "\t".join(corpus.COLUMNS) + "\n"
GOOD = "x1\t路灯不亮了\tcase\turban\tpart\t公用设施\t路灯\t投诉\t\t\twritten\n"


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return corpus.load()


def test_shipped_corpus_passes_every_check(rows: list[Row]) -> None:
    training.check(rows)


def test_shipped_corpus_is_large_and_wide_enough(rows: list[Row]) -> None:
    said = Counter(row.category for row in rows if row.category)
    assert len(rows) >= 7000
    assert len(said) == 198 + 157
    assert min(said.values()) >= 12
    assert sum(n >= 25 for n in said.values()) >= 80
    assert sum(row.disposition == "question" for row in rows) >= 400
    assert sum(row.disposition == "none" for row in rows) >= 200
    assert sum(bool(row.emergency) for row in rows) >= 300
    assert sum(row.secondary is not None for row in rows) >= 300


def test_the_benchmark_is_not_in_the_corpus(rows: list[Row]) -> None:
    held = [cells["text"] for cells in score.texts()]
    texts = held + [row.text for row in rows]
    found = corpus.pairs_above(texts, corpus.NEAR)
    assert [(texts[i], texts[j]) for i, j, _ in found if i < len(held) <= j] == []


def test_a_template_is_refused() -> None:
    fruits = ["苹果", "香蕉", "西瓜", "葡萄", "桃子", "橘子"]
    rows = [made(i, f"路口卖{fruit}的三轮车把人行道占了没有人管") for i, fruit in enumerate(fruits)]
    (fault,) = corpus.templates(rows)
    assert "one template" in fault
    assert corpus.templates(rows[:5]) == []


def test_a_second_matter_is_named_by_kind_major_and_minor(tmp_path: Path) -> None:
    header = HEADER.rstrip("\n") + "\tsecondary\n"
    (row,) = corpus.load([write(tmp_path, GOOD.rstrip("\n") + "\tsocial/劳动保障/拖欠工资\n", header=header)])
    assert row.secondary is not None
    assert row.secondary.minor == "拖欠工资"
    for wrong in ("劳动保障/拖欠工资", "social/劳动保障/飞船"):
        with pytest.raises(CorpusError, match=r"x\.tsv:2: "):
            corpus.load([write(tmp_path, GOOD.rstrip("\n") + f"\t{wrong}\n", header=header)])


def test_about_half_is_as_recognition_gives_it(rows: list[Row]) -> None:
    bare = sum(not any(mark in row.text for mark in "，。！？") for row in rows)
    assert 0.3 <= bare / len(rows) <= 0.75


def write(folder: Path, *lines: str, header: str = HEADER) -> Path:
    path = folder / "x.tsv"
    path.write_text(header + "".join(lines), encoding="utf-8")
    return path


def test_a_good_row_is_read(tmp_path: Path) -> None:
    (row,) = corpus.load([write(tmp_path, GOOD)])
    assert row.category is not None
    assert (row.id, row.category.code, row.emergency) == ("x1", "0137", ())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GOOD.replace("路灯\t投诉", "飞船\t投诉"), "x.tsv:2: .*公用设施/飞船"),
        (GOOD.replace("urban", "rural"), "x.tsv:2: column domain: 'rural'"),
        (GOOD.replace("case", "perhaps"), "x.tsv:2: column disposition: 'perhaps'"),
        (GOOD.replace("路灯不亮了", ""), "x.tsv:2: column text: empty"),
        (GOOD.replace("x1", ""), "x.tsv:2: column id: empty"),
        (GOOD.replace("投诉\t\t", "投诉\t911\t"), "x.tsv:2: column emergency: '911'"),
        (GOOD.rstrip("\n") + "\tmore\n", "x.tsv:2: 12 cells, but 11 columns"),
        (GOOD + GOOD, "x.tsv:3: column id: x1 is already on x.tsv:2"),
    ],
)
def test_a_wrong_row_names_line_and_column(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        corpus.load([write(tmp_path, line)])


def test_missing_columns_and_wrong_encoding_are_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no column domain"):
        corpus.load([write(tmp_path, header="id\ttext\n")])
    path = tmp_path / "x.tsv"
    path.write_bytes(HEADER.encode() + "路灯".encode("gb18030"))
    with pytest.raises(CorpusError, match="not UTF-8 at byte"):
        corpus.load([path])


def made(number: int, text: str, **changes: str) -> Row:
    return Row(str(number), text, "case", "urban", None, "投诉", (), changes.get("address", ""), "written")


def test_near_duplicates_are_refused_and_contrasts_are_not() -> None:
    first = made(1, "我们小区门口的路灯坏了三天了没有人来修")
    again = made(2, "我们小区门口的路灯坏了五天了没有人来修")
    other = made(3, "菜市场后面垃圾堆得像山一样臭得很")
    assert len(corpus.near_duplicates([first, again, other])) == 1
    assert corpus.near_duplicates([first, other]) == []


def test_alike_rows_share_a_group() -> None:
    texts = ["路灯坏了没有人来修", "路灯坏了没有人来修啊真是的", "垃圾堆得像山一样"]
    first, second, third = corpus.groups(texts)
    assert first == second != third


def test_a_small_corpus_is_refused() -> None:
    with pytest.raises(CorpusError, match="1 rows, at least 800"):
        training.check([made(1, "路灯坏了")])


def test_an_address_that_is_not_in_its_text_is_refused() -> None:
    with pytest.raises(CorpusError, match="7: column address: '文汇路' is not in the text"):
        training.check([made(7, "路灯坏了", address="文汇路")])


def test_a_wrong_added_file_trains_on_nothing(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "router")
    with pytest.raises(CorpusError, match="column domain"):
        commands.train([write(tmp_path, GOOD.replace("urban", "rural"))], None, io.StringIO(), registry=registry)
    assert registry.names() == []
