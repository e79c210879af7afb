"""Files to rows: what a city sends is read in every form it comes in, and what would hurt is refused at once."""

import io
import json
import time
import zipfile
import zlib
from collections.abc import Callable
from datetime import date, datetime
from functools import cache
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from openpyxl import Workbook

from callcenter.city.importing import MOST_FAULTS
from callcenter.city.kinds import KINDS
from callcenter.tables import sources
from callcenter.tables.rows import Faults, Row, TableRefused, rows_of
from callcenter.tables.sources import Source, records_of_list

pytestmark = pytest.mark.unit

COLUMNS = {"code": ("编码",), "name": ("名称",), "count": ("数量",)}
NEEDS = frozenset({"code", "name"})
TEXT = "编码,名称,数量\nA1,路灯,3\nA2,“井盖”,\n"


def read(data: bytes, most: int = 1000) -> list[dict[str, str]]:
    faults = Faults()
    found = [dict(row.cells) for row in rows_of(Source(data=data).records(), COLUMNS, NEEDS, faults, most=most)]
    if faults:
        raise TableRefused(faults)
    return found


def refused(data: bytes) -> str:
    with pytest.raises(TableRefused) as caught:
        read(data)
    assert all(fault.mend for fault in caught.value.faults)
    return str(caught.value)


# -- CSV ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "gb18030"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_is_read_in_each_encoding(encoding: str, end: str) -> None:
    assert read(TEXT.replace("\n", end).encode(encoding)) == [
        {"code": "A1", "name": "路灯", "count": "3"},
        {"code": "A2", "name": "“井盖”", "count": ""},
    ]


def test_characters_that_only_gb18030_has_are_read() -> None:
    assert read("编码,名称\nA1,㐂𠮷街\n".encode("gb18030"))[0]["name"] == "㐂𠮷街"


def test_a_character_on_the_border_of_two_chunks_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    for chunk in range(1, 9):
        monkeypatch.setattr(sources, "_CHUNK", chunk)
        for encoding in ("utf-8", "gb18030"):
            assert read(TEXT.encode(encoding))[0]["name"] == "路灯"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "has no rows"),
        (b"\xef\xbb\xbf", "has no rows"),
        (b"# a remark\n\n\n", "has no rows"),
        (TEXT.splitlines()[0].encode(), "has no rows"),
        (TEXT.encode("utf-16"), "neither UTF-8 nor GBK"),
        (TEXT.encode("utf-16-le"), "neither UTF-8 nor GBK"),
        (TEXT.encode("utf-16-be"), "neither UTF-8 nor GBK"),
        (TEXT.encode("utf-32"), "neither UTF-8 nor GBK"),
        (TEXT.encode() + b"A3,na\0me,1\n", "neither UTF-8 nor GBK"),
        (TEXT.encode("gbk") + b"A3,na\0me,1\n", "neither UTF-8 nor GBK"),
        (TEXT.encode("gbk") + b"\xff\xff", "neither UTF-8 nor GBK"),
        (TEXT.encode()[:-1] + "路".encode()[:2], "neither UTF-8 nor GBK"),
        (TEXT.encode() + b'A3,"open', "row 4, file"),
        (TEXT.encode() + b'A3,"open' + b"\nA4,more,1" * 10_000, "row 4, file"),
        (TEXT.encode() + b'A3,"closed"late,1', "row 4, file"),
        (TEXT.encode() + b"A3," + b"x" * 1_000_000 + b",1\n", "row 4, file"),
        (TEXT.encode() + b"A3,x\n", "the row has 2 cells, the columns are 3"),
        (TEXT.encode() + b"A3,x,1,2\n", "the row has 4 cells, the columns are 3"),
        (TEXT.replace("名称", "名秤").encode(), "'名秤': is no column, they are code, name, count"),
        (TEXT.replace("数量", "name").encode(), "'name': is there twice"),
        (TEXT.replace("数量", "").encode(), "'': is no column"),
        (TEXT.replace("编码", "数量", 1).encode(), "is there twice"),
        ("名称,数量\n路灯,3\n".encode(), "'code': is missing"),
        (b"\xd0\xcf\x11\xe0" + b"old" * 100, "old form"),
    ],
)
def test_a_file_that_is_no_table_is_refused(data: bytes, said: str) -> None:
    assert said in refused(data)


def test_more_rows_than_there_may_be_are_refused() -> None:
    with pytest.raises(TableRefused, match="row 1002, file: 'row 1001': has more than 1000 rows"):
        read(b"code,name\n" + b"".join(b"A%d,x\n" % n for n in range(5_000)))


def test_rows_are_numbered_as_an_editor_shows_them() -> None:
    faults = Faults()
    text = '# remark\n\ncode,name\nA1,"two\nlines"\n\nA2,x,\n'
    list(rows_of(Source(data=text.encode()).records(), COLUMNS, NEEDS, faults))
    assert [(fault.row, fault.column) for fault in faults] == [(7, "code")]


def test_every_fault_is_counted_and_some_are_told() -> None:
    faults = Faults()
    data = b"code,name\n" + b"A,x,y\n" * 1_000
    for row in rows_of(Source(data=data).records(), COLUMNS, NEEDS, faults):
        row.fault("code", "a second one in the same row")
    assert (len(faults), faults.rows) == (MOST_FAULTS, 1_000)


def test_a_source_is_a_path_or_data(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(TEXT, encoding="utf-8")
    source = Source(path=tmp_path / "a.csv")
    assert (source.name, source.size, source.form) == ("a.csv", len(TEXT.encode()), "csv")
    assert source.digest() == Source(data=TEXT.encode()).digest()
    for wrong in ({}, {"path": tmp_path / "a.csv", "data": b""}):
        with pytest.raises(TypeError):
            Source(**wrong)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        Source(path=tmp_path / "none.csv")


def test_a_file_beyond_the_bound_is_refused_by_its_size(tmp_path: Path) -> None:
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(sources.LARGEST_FILE + 1)  # sparse
    with pytest.raises(TableRefused, match="split it"):
        Source(path=tmp_path / "huge.csv")
    with pytest.raises(TableRefused, match="split it"):
        records_of_list(b" " * (sources.LARGEST_LIST + 1))
    with pytest.raises(TableRefused, match="is a map"):
        records_of_list(b'{"type": "FeatureCollection"}')


# -- what a cell may hold ----------------------------------------------------------------------------------------------
def cell(value: str) -> Row:
    return Row(7, {"it": value}, Faults())


@pytest.mark.parametrize(
    ("value", "number"),
    [("", None), ("5", 5), ("０１２", 12), (" 7 ", 7), ("+7", 7), ("10", 10), ("0", 0)],
)
def test_a_whole_number(value: str, number: int | None) -> None:
    row = cell(value)
    assert (row.whole("it", 0, 12), row.bad) == (number, False)


@pytest.mark.parametrize("value", ["13", "-1", "1.5", "1e1", "1_0", "0x5", "五", "nan", "9" * 5_000, "5 5"])
def test_no_whole_number(value: str) -> None:
    row = cell(value)
    assert (row.whole("it", 0, 12), row.bad) == (None, True)


@pytest.mark.parametrize(
    ("value", "number"), [("", None), ("112.204318", 112.204318), ("－３１．５", -31.5), ("0", 0.0)]
)
def test_degrees(value: str, number: float | None) -> None:
    row = cell(value)
    assert (row.degrees("it"), row.bad) == (number, False)


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity", "180.01", "1e999", "112°12'", "1_12.2", "112,2", "x"])
def test_no_degrees(value: str) -> None:
    row = cell(value)
    assert (row.degrees("it"), row.bad) == (None, True)


@pytest.mark.parametrize("value", ["2026-10-01", "2026/10/01", "2026-10-01 00:00:00", "2026-10-01T08:00:00+08:00"])
def test_a_day(value: str) -> None:
    assert cell(value).day("it") == date(2026, 10, 1)


@pytest.mark.parametrize(
    "value", ["2026-13-01", "2026-02-30", "1.10.2026", "昨天", "46000", "2026-10-011", "2026-W40-4", "2026-10-01垃圾"]
)
def test_no_day(value: str) -> None:
    row = cell(value)
    assert (row.day("it"), row.bad) == (None, True)


@pytest.mark.parametrize("value", ["", "x" * 13, "bell\x07", "\u202eabc", "lone \ud800", "nul\0", "zero\u200bwidth"])
def test_no_text(value: str) -> None:
    row = cell(value)
    row.text("it", 12)
    assert row.bad


def test_what_is_made_plain_is_measured_plain() -> None:
    # NFKC writes ⑩ as two digits and ﷺ as eighteen letters: a cell of twelve would be too long for its column.
    for value in ("⑩" * 12, "ﷺ"):
        row = cell(value)
        row.word("it", 12)
        assert row.bad
    row = cell("Ａ⑩")
    assert (row.word("it", 12), row.bad) == ("A10", False)


# -- workbooks ---------------------------------------------------------------------------------------------------------
def book(*rows: list[Any], prepare: Callable[[Workbook], None] | None = None) -> bytes:
    made = Workbook()
    for row in rows:
        made.active.append(row)  # type: ignore[union-attr]
    if prepare is not None:
        prepare(made)
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


GOOD = book(["编码", "名称", "数量"], ["A1", "路灯", 3], ["A2", None, None])


def changed(data: bytes, name: str, content: bytes | None, *, add: str = "") -> bytes:
    """The workbook with another content of one member, or with another member."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.namelist():
            if member != name:
                new.writestr(member, old.read(member))
            elif content is not None:
                new.writestr(member, content)
        if add:
            new.writestr(add, content or b"")
    return out.getvalue()


def member(data: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as zipped:
        return zipped.read(name)


SHEET = "xl/worksheets/sheet1.xml"


HEAD = '<row r="1"><c t="inlineStr"><is><t>code</t></is></c><c t="inlineStr"><is><t>name</t></is></c></row>'


def sheet(rows: str) -> bytes:
    whole = (
        '<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
        f"<sheetData>{rows}</sheetData></worksheet>"
    )
    return changed(GOOD, SHEET, whole.encode())


def test_a_workbook_is_read() -> None:
    assert read(GOOD) == [{"code": "A1", "name": "路灯", "count": "3"}, {"code": "A2", "name": "", "count": ""}]
    rows = read(book(["编码", "名称", "数量"], ["A1", datetime(2026, 1, 5), 2.0], [], [True, 2.5, None]))  # noqa: DTZ001
    assert [list(row.values()) for row in rows] == [["A1", "2026-01-05 00:00:00", "2"], ["1", "2.5", ""]]


def test_remarks_above_the_columns_of_a_workbook_do_not_make_it_narrow() -> None:
    data = book(["# 荆门市"], [], ["编码", "名称", "数量"], ["A1", "路灯", None], ["A2", "井盖", 4])
    assert [row["count"] for row in read(data)] == ["", "4"]


def test_formulas_count_as_what_they_came_to() -> None:
    assert read(book(["code", "name"], ["A1", "=1+1"]))[0]["name"] == ""


def test_a_long_code_that_was_stored_as_a_number_is_no_code() -> None:
    data = book(["code", "name", "lon", "lat"], [4208020101000001, "井盖", 112.2, 31.0], [42080201010000012, "x", 1, 1])
    faults = Faults()
    assets = KINDS["assets"]
    from callcenter.city.kinds import Known

    for row in rows_of(Source(data=data).records(), assets.columns, assets.needs, faults):
        assets.parse(row, Known("wgs84"))
    assert [(fault.row, fault.column) for fault in faults] == [(2, "code"), (3, "code")]
    assert "stored as text" in faults[0].mend
    text = book(["code", "name"], ["4208020101000001", "x"])
    assert read(text)[0]["code"] == "4208020101000001"


def test_short_codes_stored_as_numbers_are_the_same_codes() -> None:
    assert [row["code"] for row in read(book(["code", "name"], [420802001001001, "x"], [420802.0, "y"]))] == [
        "420802001001001",
        "420802",
    ]


def bomb(name: str, size: int, declared: int | None = None, inside: bytes = b"") -> bytes:
    """A workbook with a member of ``size`` blanks, made without ever holding them: one squeezed MB again and again."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    squeezed = (squeezer.compress(b" " * (1 << 20)) + squeezer.flush(zlib.Z_FULL_FLUSH)) * (size >> 20)
    squeezed += zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    out = io.BytesIO()
    directory = b""
    with zipfile.ZipFile(io.BytesIO(inside or GOOD)) as good:
        members = [(title, good.read(title)) for title in good.namelist() if title != name]
    count = 0
    for title, content in [*members, (name, b"")]:
        method, body, crc, length = 0, content, zlib.crc32(content), len(content)
        if title == name:
            method, body, crc, length = 8, squeezed, 0, declared if declared is not None else size
        raw = title.encode()
        head = pack("<HHHHHIIIHH", 20, 0, method, 0, 33, crc, len(body), length, len(raw), 0)
        directory += b"PK\x01\x02" + pack("<H", 20) + head + pack("<HHHII", 0, 0, 0, 0, out.tell()) + raw
        out.write(b"PK\x03\x04" + head + raw + body)
        count += 1
    at = out.tell()
    out.write(directory + b"PK\x05\x06" + pack("<HHHHIIH", 0, 0, count, count, len(directory), at, 0))
    return out.getvalue()


def costs(data: bytes) -> tuple[str, float, int]:
    """What was said, seconds, MB more than before."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    before = peak()
    began = time.process_time()
    said = refused(data)
    return said, time.process_time() - began, peak() - before


def peak() -> int:
    """The most memory this process had since the peak began anew, MB."""
    [line] = [ln for ln in Path("/proc/self/status").read_text(encoding="ascii").splitlines() if "VmHWM" in ln]
    return int(line.split()[1]) // 1024


def test_a_zip_bomb_is_refused_by_what_it_declares() -> None:
    data = bomb(SHEET, 1200 * 1024**2)
    assert len(data) < 2 * 1024**2
    said, seconds, more = costs(data)
    assert "unpacks to more than" in said
    assert (seconds < 1, more < 50) == (True, True), (seconds, more)


@pytest.mark.parametrize(
    "name",
    ["xl/styles.xml", "xl/workbook.xml", "[Content_Types].xml", "docProps/core.xml", "xl/theme/theme1.xml", SHEET],
)
def test_a_bomb_within_the_bound_of_the_whole_is_refused_too(name: str) -> None:
    # What is no sheet is read into memory whole, and a cell is held whole too.
    said, seconds, more = costs(bomb(name, 600 * 1024**2))
    assert "workbook" in said or "unpacks to more" in said or "a row of more" in said
    assert (seconds < 1, more < 50) == (True, True), (seconds, more)


def test_a_bomb_that_declares_little_unpacks_to_little() -> None:
    said, seconds, more = costs(bomb(SHEET, 400 * 1024**2, declared=1000))
    assert "workbook" in said
    assert (seconds < 1, more < 50) == (True, True), (seconds, more)


def with_words(name: str, words: bytes) -> bytes:
    """A workbook whose table of words is called ``name``."""
    part = (
        f'<Override PartName="/{name}" ContentType='
        '"application/vnd.openxmlformats-officedocument.spreadsheetml.sharedStrings+xml" /></Types>'
    )
    types = member(GOOD, "[Content_Types].xml").replace(b"</Types>", part.encode())
    return changed(changed(GOOD, "[Content_Types].xml", types), "", words, add=name)


def test_words_are_read_from_their_table() -> None:
    one = '<row><c t="s"><v>{}</v></c><c t="s"><v>{}</v></c></row>'
    rows = one.format(0, 1) + one.format(2, 3)
    words = b"<sst>" + b"".join(b"<si><t>%s</t></si>" % word for word in (b"code", b"name", b"A1", b"A1")) + b"</sst>"
    space = b'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    data = with_words("xl/sharedStrings.xml", words.replace(b"<sst>", space))
    assert read(changed(data, SHEET, member(sheet(rows), SHEET))) == [{"code": "A1", "name": "A1"}]


@pytest.mark.parametrize("name", ["xl/sharedStrings.xml", "xl/words.xml", "xl/worksheets/sheet9.xml"])
def test_shared_words_are_bounded_under_any_name(name: str) -> None:
    said, seconds, more = costs(bomb(name, 150 * 1024**2, inside=with_words(name, b"")))
    assert "of words" in said
    assert (seconds < 1, more < 50) == (True, True), (seconds, more)


@pytest.mark.parametrize("name", ["xl/sharedStrings.xml", "xl/styles.xml", "xl/workbook.xml", SHEET])
def test_entities_that_grow_are_not_unfolded(name: str) -> None:
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    words = f'<?xml version="1.0"?><!DOCTYPE sst [<!ENTITY e0 "ha">{levels}]><sst><si><t>&e11;</t></si></sst>'
    said, seconds, more = costs(changed(with_words("xl/sharedStrings.xml", b"<sst/>"), name, words.encode()))
    assert "workbook" in said
    assert (seconds < 1, more < 50) == (True, True), (seconds, more)


@cache
def broken() -> dict[str, bytes]:
    types = member(GOOD, "[Content_Types].xml")
    flipped = bytearray(GOOD)
    with zipfile.ZipFile(io.BytesIO(GOOD)) as good:
        start = good.getinfo(SHEET).header_offset + 30 + len(SHEET)
    flipped[start + 20 : start + 40] = bytes(20)
    locked = bytearray(GOOD)
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = -1
        while (position := locked.find(mark, position + 1)) >= 0:
            locked[position + at] |= 1
    strange = bytearray(GOOD)
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        position = -1
        while (position := strange.find(mark, position + 1)) >= 0:
            strange[position + at] = 97
    plain_zip = io.BytesIO()
    with zipfile.ZipFile(plain_zip, "w") as made:
        made.writestr("doors.csv", TEXT)
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as made:
        for n in range(5_000):
            made.writestr(f"{n}", "")
    row = '<row r="2"><c r="A2"><v>1</v></c><c r="B2"{}</c></row>'
    return {
        "half": GOOD[: len(GOOD) // 2],
        "without its end": GOOD[:-10],
        "start only": GOOD[:4],
        "without a workbook": plain_zip.getvalue(),
        "many files": many.getvalue(),
        "no sheet file": changed(GOOD, SHEET, None),
        "no types": changed(GOOD, "[Content_Types].xml", None),
        "no workbook part": changed(GOOD, "xl/workbook.xml", None),
        "types of nothing": changed(GOOD, "[Content_Types].xml", types[:200]),
        "bits turned": bytes(flipped),
        "locked": bytes(locked),
        "strange method": bytes(strange),
        "sheet no XML": changed(GOOD, SHEET, b"\x00\xff not XML"),
        "sheet ends early": changed(GOOD, SHEET, member(GOOD, SHEET)[:-80]),
        "word that is not there": sheet(HEAD + row.format(' t="s"><v>99</v>')),
        "word that is none": sheet(HEAD + row.format(' t="s"><v>x</v>')),
        "number that is none": sheet(HEAD + row.format("><v>x</v>")),
        "switch that is none": sheet(HEAD + row.format(' t="b"><v>x</v>')),
        "day that is none": sheet(HEAD + row.format(' t="d"><v>x</v>')),
        "style that is none": sheet(HEAD + row.format(' s="x"><v>1</v>')),
        "cell without a place": sheet(HEAD + row.replace('"B2"', '"2B"').format("><v>1</v>")),
        "row that is none": sheet(HEAD + '<row r="two"><c><v>1</v></c></row>'),
        "row beyond the last": sheet(HEAD + '<row r="1048577"><c><v>1</v></c></row>'),
        "row far beyond the last": sheet(HEAD + '<row r="99999999999"><c><v>1</v></c></row>'),
        "a cell of 40 MB": sheet(HEAD + row.format(f' t="inlineStr"><is><t>{"x" * 40_000_000}</t></is>')),
    }


@pytest.mark.parametrize("what", list(broken()))
def test_a_workbook_that_is_broken_is_refused(what: str) -> None:
    said, seconds, _ = costs(broken()[what])
    assert "CSV" in said or "send the file in it" in said or "without a sheet" in said, said
    assert seconds < 4, seconds


def test_numbers_that_are_none_are_cells_nobody_can_use() -> None:
    rows = "".join(f'<row><c t="inlineStr"><is><t>A</t></is></c><c><v>{v}</v></c></row>' for v in ("1" * 400, "1e400"))
    assert [row["name"] for row in read(sheet(HEAD + rows))] == ["1" * 400 + ".0", "inf"]


def test_a_sheet_that_says_it_is_wide_and_long_takes_no_longer() -> None:
    for said in ("A1:XFD1048576", "A1:B2", "Z1:A1"):
        xml = member(GOOD, SHEET)
        begin = xml.index(b"<dimension")
        xml = xml[:begin] + b'<dimension ref="%s"/>' % said.encode() + xml[xml.index(b"/>", begin) + 2 :]
        began = time.process_time()
        assert len(read(changed(GOOD, SHEET, xml))) == 2
        assert time.process_time() - began < 10


def test_rows_whose_last_cell_is_far_out_take_no_longer() -> None:
    rows = "".join(f'<row r="{n}"><c r="XFD{n}"><v>1</v></c></row>' for n in range(2, 20_000))
    began = time.process_time()
    assert "has no rows" in refused(sheet(HEAD + rows))
    assert time.process_time() - began < 20


# -- maps --------------------------------------------------------------------------------------------------------------
def collection(*features: Any) -> bytes:
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def feature(**properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": properties, "geometry": {"type": "Point", "coordinates": [112.2, 31.0]}}


def test_a_map_is_read() -> None:
    data = collection(feature(code=12, name="路"), feature(code="b", 名称=None) | {"geometry": None}, 5, None, [])
    with pytest.raises(TableRefused, match="'名称': is there twice"):
        read(data)
    data = collection(feature(code=12, name="路"), feature(code=["a", 1], name=True), 5, {"properties": 7})
    rows = list(rows_of(Source(data=b"\xef\xbb\xbf" + data).records(), COLUMNS, NEEDS, Faults()))
    assert [list(row.cells.values()) for row in rows] == [["12", "路"], ["a;1", "1"], ["", ""], ["", ""]]
    assert [bool(row.geometry) for row in rows] == [True, True, False, False]


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"{}",
        b'{"type": "FeatureCollection"}',
        b'{"type": "FeatureCollection", "features": {}}',
        b'{"type": "FeatureCollection", "features": []}',
        b'{"type": "Feature", "features": [1]}',
        b'{"features": ' + b"[" * 100_000,
        b'{"a":' * 100_000,
        collection(feature(code="a", name=float("nan"))),
        collection(feature(code="a", name=float("-inf"))),
        collection(feature(code="a", name="b")).replace(b"112.2", b"NaN"),
        collection(feature(code="a", name="b")).decode().encode("utf-16"),
        b"{" + "编码".encode("gbk") + b"}",
        collection(feature(code="a", name=10**300)).replace(b"0" * 300, b"0" * 6_000),
    ],
)
def test_a_map_that_is_none_is_refused(data: bytes) -> None:
    said, seconds, more = costs(data)
    assert "JSON" in said or "no rows" in said or "neither UTF-8" in said, said
    assert (seconds < 1, more < 50) == (True, True)


def test_strange_properties_are_text() -> None:
    deep: Any = "x"
    for _ in range(400):
        deep = [deep]
    rows = read(collection(feature(code=10**400, name=deep), feature(code={"a": 1}, name=1e300)))
    assert rows[0]["code"] == f"{10**400}.0"
    assert rows[1]["name"] == "1e+300"


def test_a_property_for_each_feature_is_no_square() -> None:
    began = time.process_time()
    assert "is no column" in refused(collection(*(feature(**{f"p{n}": n}) for n in range(30_000))))
    assert time.process_time() - began < 20


# -- every kind of a city ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", list(KINDS))
def test_a_name_of_a_column_means_one_column(kind: str) -> None:
    said = [alias for name, aliases in KINDS[kind].columns.items() for alias in (name, *aliases)]
    assert len(said) == len(set(said))
    assert all(alias == alias.casefold().strip() for alias in said)
    assert KINDS[kind].needs <= set(KINDS[kind].columns)
