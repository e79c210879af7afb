"""The categories as data: what is loaded, and what a wrong file says about itself."""

from pathlib import Path

import pytest

from classifier import taxonomy
from classifier.taxonomy import TaxonomyError

pytestmark = pytest.mark.unit

HEAD = "# standard: X 1\n# domain: urban\nlevel,kind,code,parent,name,certainty,department,words\n"
MAJOR = "major,part,01,,设施,,,\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "x.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_counts_are_those_of_the_standards() -> None:
    national = taxonomy.load()
    kinds = [entry.category.kind for entry in national.entries]
    assert (kinds.count("part"), kinds.count("event")) == (119, 79)
    assert len(taxonomy.load("social").entries) == 157
    assert len({entry.category.major for entry in taxonomy.load("social").entries}) == 24
    newer = [entry.category.kind for entry in taxonomy.load("GB/T 47678.5-2026").entries]
    assert (newer.count("part"), newer.count("event")) == (153, 250)
    older = [entry.category.kind for entry in taxonomy.load("CJ/T 214-2007").entries]
    assert (older.count("part"), older.count("event")) == (85, 55)


def test_order_of_event_majors_is_the_standards_own() -> None:
    # CJ/T 214 counts 突发事件 before 街面秩序, GB/T 30428.2 after it: a code means nothing without its standard
    def majors(standard: str) -> dict[str, str]:
        return {
            e.category.major: e.category.code[:2] for e in taxonomy.load(standard).entries if e.category.kind == "event"
        }

    assert majors("GB/T 30428.2-2013")["街面秩序"] == "04"
    assert majors("CJ/T 214-2007")["突发事件"] == "04"


def test_codes_are_unique_within_standard_and_kind() -> None:
    for standard in taxonomy.standards():
        keys = [(e.category.kind, e.category.code) for e in taxonomy.load(standard).entries]
        assert len(keys) == len(set(keys)), standard


def test_parts_and_events_share_numbers() -> None:
    national = taxonomy.load()
    assert national.by_code("part", "0101").minor == "上水井盖"
    assert national.by_code("event", "0101").minor == "私搭乱建"


def test_every_category_has_plain_words() -> None:
    for standard in (taxonomy.DEFAULT_STANDARD, taxonomy.SOCIAL):
        assert [e.category.minor for e in taxonomy.load(standard).entries if not e.words] == []


def test_find_by_names() -> None:
    lamp = taxonomy.find("urban", "part", "公用设施", "路灯")
    assert (lamp.code, lamp.domain, lamp.standard) == ("0137", "urban", "GB/T 30428.2-2013")
    assert taxonomy.find("urban", "", "公用设施", "路灯") == lamp
    with pytest.raises(TaxonomyError, match="公用设施/飞船"):
        taxonomy.find("urban", "part", "公用设施", "飞船")
    with pytest.raises(TaxonomyError, match="neither urban nor social"):
        taxonomy.find("rural", "part", "公用设施", "路灯")


def test_unknown_standard_names_the_known_ones() -> None:
    with pytest.raises(TaxonomyError, match="CJ/T 214-2007"):
        taxonomy.load("GB/T 0")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            MAJOR + "minor,part,0101,01,灯,confirmed,,\nminor,part,0101,01,杆,confirmed,,\n",
            r"x.csv:6: duplicate code",
        ),
        (MAJOR + "minor,part,0101,02,灯,confirmed,,\n", r"x.csv:5: unknown parent '02'"),
        (MAJOR + "minor,part,0101,01,灯,confirmed,,\nminor,part,0102,01,灯,confirmed,,\n", r"x.csv:6: duplicate name"),
        ("major,thing,01,,设施,,,\n", r"x.csv:4: kind 'thing'"),
        ("major,social,S01,,设施,,,\n", r"x.csv:4: kind 'social' does not belong"),
        (MAJOR + "minor,part,0101,01,灯,surely,,\n", r"x.csv:5: certainty 'surely'"),
        (MAJOR + "minor,part,0101,01,灯,confirmed\n", r"x.csv:5: 6 cells"),
        (MAJOR + "medium,part,0101,01,灯,confirmed,,\n", r"x.csv:5: level 'medium'"),
        (MAJOR + "minor,part,,01,灯,confirmed,,\n", r"x.csv:5: code and name"),
        (MAJOR, r"no categories"),
    ],
)
def test_a_wrong_file_names_its_line(tmp_path: Path, rows: str, message: str) -> None:
    with pytest.raises(TaxonomyError, match=message):
        taxonomy.load_file(write(tmp_path, HEAD + rows))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("level,kind\n", "columns are"),
        ("# domain: urban\nlevel,kind,code,parent,name,certainty,department,words\n", 'no "# standard'),
        (
            "# standard: X\n# domain: x\nlevel,kind,code,parent,name,certainty,department,words\n",
            "must be urban or social",
        ),
    ],
)
def test_a_wrong_head_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TaxonomyError, match=message):
        taxonomy.load_file(write(tmp_path, text))


def test_crosswalk_keeps_what_kept_its_name_and_knows_what_was_renamed() -> None:
    walk = taxonomy.crosswalk("GB/T 30428.2-2013", "GB/T 47678.5-2026")
    assert walk[taxonomy.find("urban", "part", "公用设施", "路灯")].standard == "GB/T 47678.5-2026"
    assert walk[taxonomy.find("urban", "part", "公用设施", "上水井盖")].minor == "供水井盖"
    assert taxonomy.find("urban", "event", "突发事件", "路面塌陷") not in walk
    assert len(walk) >= 185
