"""The texts of messages: what may stand in them, what becomes of people's data, what is refused when they are read."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callcenter.messages.gateways import signature
from callcenter.messages.policy import Policy, PolicyError, recipient_key
from callcenter.messages.telling import plain_number
from callcenter.messages.templates import (
    LONGEST,
    NEUTRAL,
    OF_PEOPLE,
    PLACEHOLDERS,
    TemplateError,
    mask_name,
    parse,
    template,
    templates,
)

pytestmark = pytest.mark.unit

LONG = {name: "长" * 40 for name in PLACEHOLDERS} | {"name": "欧阳长江", "phone": "13800138000"}


def one(text: str, audience: str = "citizen", **more: str) -> str:
    extra = "".join(f"{name} = {value}\n" for name, value in more.items())
    return f"[a]\naudience = {audience}\n{extra}text = {text}\n"


@pytest.mark.parametrize("name", sorted(templates()))
def test_every_template_fills_and_stays_short(name: str) -> None:
    words = template(name).fill(LONG)
    assert "{" not in words
    assert len(words) <= LONGEST
    usual = {**LONG, "unit": "市政管理处", "minor": "路灯", "addressee": "处长", "phase": "处置"}
    usual |= {"number": "2026112000001", "hotline": "12319", "sheet": "DB202611200001", "due": "11月20日17:30"}
    assert len(template(name).fill({**usual, "reply_by": usual["due"]})) <= 134, "two parts of an SMS"


def test_templates_to_units_hold_nothing_of_people_and_neutral_ones_nothing_of_the_case() -> None:
    for one_of_all in templates().values():
        if one_of_all.audience == "unit":
            assert not one_of_all.placeholders & OF_PEOPLE
        if one_of_all.neutral:
            assert one_of_all.placeholders <= NEUTRAL
            assert "案" not in one_of_all.text
    assert [name for name, found in templates().items() if found.neutral] == ["neutral"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (one("{address}"), "address} is no placeholder"),
        (one("{}"), "is no placeholder"),
        (one("{number.__class__}"), "is no placeholder"),
        (one("a } b"), "brace stands alone"),
        (one("a { b"), "brace stands alone"),
        (one(""), "has no text"),
        (one("x", "everybody"), "neither citizen nor unit"),
        (one("{phone}", "unit"), "not sent people's data"),
        (one("{number}", neutral="yes"), "is neutral and can hold"),
        (one("x", neutral="perhaps"), "neutral is yes or no"),
        (one("x").replace("[a]", "[A b]"), "lower-case"),
        (one("x") + one("y"), "DuplicateSectionError"),
        ("text", "cannot be read as sections"),
    ],
)
def test_a_bad_template_is_refused_when_it_is_read(text: str, why: str) -> None:
    with pytest.raises(TemplateError) as refused:
        parse(text, "my.ini")
    assert why in str(refused.value)
    assert "my.ini" in str(refused.value)


def test_values_are_masked_and_shown_in_the_citys_time() -> None:
    filled = parse(one("{name} {phone} {due} {unit} {number}"), "x")["a"].fill(
        {
            "name": "欧阳长江",
            "phone": "13800138000",
            "due": datetime(2026, 11, 20, 16, 30, tzinfo=UTC),
            "unit": "市政处 13900139000\n养护科",
            "number": "2026112000001",
        }
    )
    assert filled == "欧阳** 138****8000 11月21日00:30 市政处 139****9000 养护科 2026112000001"


def test_what_is_missing_or_too_long_is_refused_without_the_value() -> None:
    found = parse(one("{phone}{minor}"), "x")["a"]
    with pytest.raises(TemplateError, match="needs minor") as refused:
        found.fill({"phone": "13800138000"})
    assert "138" not in str(refused.value)
    with pytest.raises(TemplateError, match="400 is the most"):
        found.fill({"phone": "13800138000", "minor": "长" * 400})
    with pytest.raises(TemplateError, match="no template 'nothing'"):
        template("nothing")


def test_a_value_with_braces_is_not_filled_again() -> None:
    assert parse(one("{unit}"), "x")["a"].fill({"unit": "{phone}", "phone": "13800138000"}) == "{phone}"


@given(st.text(alphabet=st.characters(min_codepoint=0x4E00, max_codepoint=0x9FFF), min_size=1, max_size=6))
def test_a_masked_name_never_shows_the_whole_name(name: str) -> None:
    masked = mask_name(name)
    assert "*" in masked
    assert len(masked.replace("*", "")) <= 2
    if len(name) > 1:
        assert name not in masked


@pytest.mark.parametrize(
    "written", ["13800138000", "+8613800138000", "+86 138-0013-8000", "0086 13800138000", "138 0013 8000"]
)
def test_a_number_has_one_plain_form(written: str) -> None:
    assert plain_number(written) == "13800138000"


def test_the_hash_depends_on_the_secret_and_shows_nothing() -> None:
    first, second = Policy(), Policy()
    assert first.hash("13800138000") == first.hash("13800138000") != second.hash("13800138000")
    assert first.key.hex() not in repr(first)
    assert "key" not in repr(first)


def test_the_secret_is_made_once_and_for_its_owner_only(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("data") / "new"
    key = recipient_key(folder)
    assert (len(key), recipient_key(folder)) == (32, key)
    [file] = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    file.write_text("not a key")
    with pytest.raises(PolicyError, match="64 hexadecimal digits"):
        recipient_key(folder)


def test_only_a_neutral_template_can_stand_in_for_silence() -> None:
    assert Policy(neutral="neutral").neutral == "neutral"
    with pytest.raises(PolicyError, match="is not neutral"):
        Policy(neutral="closed")
    with pytest.raises(TemplateError, match="no template"):
        Policy(neutral="quiet")


def test_a_signature_covers_the_secret_the_time_and_the_body() -> None:
    signed = {signature(*what) for what in (("s", "1", b"x"), ("t", "1", b"x"), ("s", "2", b"x"), ("s", "1", b"y"))}
    assert len(signed) == 4
    # Computed apart: printf '1763600000.{}' | openssl dgst -sha256 -hmac secret
    assert (
        signature("secret", "1763600000", b"{}")
        == "v1=acdfa0b7252d0764bbb6d91d329f03a9180fde64d53dda6fff3e1d0781b26687"
    )
