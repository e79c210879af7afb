"""What cases are found by: the tokens of words, and the keyed tails of numbers."""

import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callcenter.cases import search_index
from callcenter.cases.search_index import digits_of, number_tokens, tail_token, text_tokens, word_tokens

pytestmark = pytest.mark.unit

SECRET = b"x" * 32


def found(words: str, text: str) -> bool:
    """Whether a case with this text is found by these words."""
    wanted = word_tokens(words)
    return bool(wanted) and wanted <= text_tokens(text)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("井盖", "解放路的井盖不见了"),
        ("街", "中山大街有人占道"),
        ("路灯坏了", "这里的路灯又坏了"),
        ("路灯 解放路", "解放路12号门口路灯不亮"),
        ("垃圾桶", "门口的垃圾桶满了"),
        ("人民医院", "在市人民医院旁边"),
        ("井蓋", "井盖丢了"),
        ("ATM", "路口的ａｔｍ机坏了"),
        ("12号", "解放路12号"),
        ("十二号", "解放路十二号"),
        ("的", "路灯的灯泡"),
        ("  井盖！", "井盖，没了。"),
        ("坏", "路灯坏了"),
    ],
)
def test_found(words: str, text: str) -> None:
    assert found(words, text)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("井盖", "水井上面的盖子"),
        ("路灯 井盖", "路灯坏了"),
        ("12号", "解放路13号"),
        ("灯路", "路灯"),
        ("", "路灯"),
        ("，。！", "路灯"),
    ],
)
def test_not_found(words: str, text: str) -> None:
    assert not found(words, text)


@pytest.mark.parametrize(
    "number",
    ["13800138000", "138 0013 8000", "138-0013-8000", "幺三八零零幺三八零零零", "110101199003078515", "8765432"],
)
def test_a_number_in_the_text_is_not_found_by_its_digits(number: str) -> None:
    tokens = text_tokens(f"路灯坏了我的电话是{number}请回电")
    spoken = "零〇一二三四五六七八九幺0123456789"
    assert not {token for token in tokens if set(token) & set(spoken)}
    assert "电话" in tokens
    assert "回电" in tokens
    assert word_tokens(number) == frozenset()


@given(st.text(alphabet="的路灯坏了井盖街在大0一二三十 ，aB*-", max_size=40), st.data())
@settings(max_examples=300, deadline=None)
def test_every_piece_of_a_text_finds_it(text: str, data: st.DataObject) -> None:
    """Whatever two or more neighbouring Chinese characters somebody copies out of a case find that case."""
    runs = [run for run in search_index._HAN.findall(text) if not set(run) & set("一二三十")]
    if not runs:
        return
    run = data.draw(st.sampled_from(runs))
    start = data.draw(st.integers(0, len(run) - 1))
    piece = run[start : data.draw(st.integers(start + 1, len(run)))]
    wanted = word_tokens(piece)
    assert wanted <= text_tokens(text)


@given(st.text(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_gives_tokens_that_both_databases_take(text: str) -> None:
    for token in text_tokens(text) | word_tokens(text):
        assert token
        assert token.isalnum()
        assert len(token) <= 20


def test_a_number_is_found_by_its_end_only() -> None:
    tokens = number_tokens("138-0013-8123", SECRET)
    assert tail_token("8123", SECRET) in tokens
    assert tail_token("00138123", SECRET) in tokens
    assert tail_token("13800138123", SECRET) in tokens, "longer: the tail of eight, and the number decides"
    assert tail_token("138123", SECRET) in tokens, "between: the tail of four, and the number decides"
    assert tail_token("1380", SECRET) not in tokens
    assert number_tokens("110", SECRET) == number_tokens(None, SECRET) == frozenset()
    assert digits_of("+86 (138)") == "86138"
    with pytest.raises(ValueError, match=r"3 digits .* at least 4"):
        tail_token("123", SECRET)


def test_tails_cannot_be_tried_out_without_the_secret() -> None:
    mine = number_tokens("13800138123", SECRET)
    assert not mine & number_tokens("13800138123", b"y" * 32)
    assert not any("8123" in token or "0138" in token for token in mine)
    assert not any(token in word_tokens(token[1:]) for token in mine), "no words are a number's token"


def test_the_secret_lies_in_the_data_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_index, "_in_force", [])
    search_index.use(tmp_path)
    first = list(search_index._in_force)
    search_index.use(tmp_path)
    assert search_index._in_force == first
    (file,) = tmp_path.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_text().strip() != first[0].hex(), "the other use of the secret is not this one"
    search_index.use(tmp_path / "other")
    assert search_index._in_force != first
