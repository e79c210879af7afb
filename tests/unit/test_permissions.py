"""The permission table, passwords, tokens, and the limit on guessing: pure rules of who may do what."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.security import RateLimit
from callcenter.access import passwords, tokens
from callcenter.access.masking import (
    is_identity_number,
    mask_identifiers,
    mask_name,
    mask_number,
    mask_personal,
    mask_text,
    names_a_person,
)
from callcenter.access.permissions import (
    EDITS,
    FOR_KEYS,
    POSTS,
    ROLE_NAMES,
    TABLE,
    Permission,
    Role,
    parse_permissions,
    parse_roles,
    permissions_of,
    why_apart,
)
from callcenter.cases.lifecycle import TABLE as TABLE_OF_STEPS
from callcenter.cases.lifecycle import Side

pytestmark = pytest.mark.unit

P = Permission


def test_every_role_is_in_the_table_and_has_a_name() -> None:
    assert set(TABLE) == set(Role) == set(ROLE_NAMES)


def test_every_permission_is_given_to_somebody() -> None:
    assert set().union(*TABLE.values()) == set(Permission)


@pytest.mark.parametrize("names", [[], ["root"], ["ADMIN"], ["admin "], ["", "*"]])
def test_an_unknown_role_gives_nothing(names: list[str]) -> None:
    assert permissions_of(names) == frozenset()


def test_an_unknown_role_beside_a_known_one_adds_nothing() -> None:
    assert permissions_of(["agent", "root"]) == TABLE[Role.AGENT]


def test_a_unit_sees_no_draft_no_full_number_and_decides_nothing() -> None:
    unit = permissions_of(["dispatcher"])
    assert unit == {P.CASES_READ, P.CITY_READ, P.FEED_PULL, P.FEED_ACK}
    assert not unit & {P.CASES_READ_DRAFTS, P.CASES_READ_PARTICULARS, P.CASES_CONFIRM, P.CALLS_READ, P.CALLS_LISTEN}


def test_administrators_cannot_replace_one_another() -> None:
    assert not TABLE[Role.ADMIN] & {P.CASES_READ, P.CALLS_READ, P.CASES_READ_PARTICULARS, P.AUDIT_READ}
    assert not TABLE[Role.AUDITOR] & {P.USERS_MANAGE, P.KEYS_MANAGE, P.CASES_CONFIRM, P.CASES_READ_PARTICULARS}
    assert [role for role in Role if P.USERS_MANAGE in TABLE[role]] == [Role.ADMIN]
    assert [role for role in Role if P.AUDIT_READ in TABLE[role]] == [Role.AUDITOR]


def test_no_key_can_make_users_or_keys_or_give_a_persons_word() -> None:
    assert not FOR_KEYS & {P.USERS_MANAGE, P.KEYS_MANAGE, P.CASES_CONFIRM, P.MODELS_MANAGE}


def test_a_key_reads_and_pulls_and_takes_no_step_of_a_case() -> None:
    changing = ("manage", "act", "accept", "decide", "verify", "command", "handle", "register", "supervise", "instruct")
    assert {one for one in FOR_KEYS if one.rpartition(":")[2] in (*changing, "confirm", "add_evidence")} == set()
    assert {one.rpartition(":")[2] for one in FOR_KEYS} == {
        *("read", "listen", "read_drafts", "read_particulars", "pull", "ack"),
        "send",  # what devices measure: a case comes of it, which a person confirms
    }
    for_people = {P.EVALUATION_READ, P.CASES_READ_EVIDENCE, P.FIELD_READ, P.FIELD_MANAGE, P.FIELD_REPORT}
    assert not FOR_KEYS & for_people, "people at work, and pictures, are for people"


def test_a_person_of_a_unit_and_a_volunteer_see_no_draft_and_no_number() -> None:
    for role in (Role.UNIT, Role.COMMAND, Role.VOLUNTEER, Role.MAINTAINER, Role.ANALYST):
        assert not TABLE[role] & {P.CASES_READ_DRAFTS, P.CASES_READ_PARTICULARS, P.CALLS_READ, P.CALLS_LISTEN}, role
    assert P.CASES_READ not in TABLE[Role.VOLUNTEER] | TABLE[Role.MAINTAINER]


def test_levels_scope_rights() -> None:
    """市级监督考核、区级受理指挥、网络协同处置 (001-03); the lower levels write, the upper two analyse (001-13)."""
    assesses = {role for role in Role if P.EVALUATION_READ in TABLE[role]}
    assert assesses == {Role.SUPERVISOR, Role.INSPECTOR, Role.LEADER, Role.ANALYST}
    writes = P.CASES_ACT, P.CASES_REGISTER, P.CASES_ADD_EVIDENCE, P.CASES_CONFIRM
    for upper in (Role.INSPECTOR, Role.LEADER, Role.ANALYST):
        assert not TABLE[upper] & {*writes}
    assert {role for role in Role if P.CASES_COMMAND in TABLE[role]} == {Role.COMMAND}
    assert {role for role in Role if P.CASES_ACCEPT in TABLE[role]} == {Role.AGENT}
    assert {role for role in Role if P.CASES_HANDLE in TABLE[role]} == {Role.UNIT}
    assert not assesses & {Role.COMMAND, Role.UNIT, Role.COLLECTOR, Role.AGENT, Role.VOLUNTEER}


def test_supervision_and_command_are_different_posts() -> None:
    """监管分离 (000-05, 002-04): no role has steps of two sides; on one case no person takes them."""
    sides = {
        role: {TABLE_OF_STEPS[step].side for step in TABLE_OF_STEPS if POSTS[role] in TABLE_OF_STEPS[step].posts}
        for role in POSTS
    }
    assert Side.SUPERVISION not in sides[Role.COMMAND] | sides[Role.UNIT]
    assert Side.COMMAND not in sides[Role.AGENT] | sides[Role.COLLECTOR] | sides[Role.UNIT]
    # The duty chief alone has both: the third return and a long suspension are theirs; the case tells them apart.
    assert {role for role in sides if {Side.COMMAND, Side.SUPERVISION} <= sides[role]} == {Role.SUPERVISOR}
    for role in (Role.INSPECTOR, Role.LEADER, Role.ANALYST, Role.MAINTAINER, Role.VOLUNTEER):
        assert sides[role] == set(), role


def test_an_inspector_edits_nothing_by_any_other_role() -> None:
    assert not TABLE[Role.INSPECTOR] & EDITS
    for role in Role:
        if role is Role.INSPECTOR:
            continue
        reason = why_apart([Role.INSPECTOR, role])
        assert (reason is not None) == bool(TABLE[role] & EDITS), role
    assert why_apart([Role.INSPECTOR, Role.LEADER, Role.COMMAND])
    assert why_apart([Role.AGENT, Role.SUPERVISOR, Role.COMMAND]) is None


def test_a_units_person_has_no_role_that_sees_all_cases() -> None:
    for role in set(Role) - {Role.UNIT}:
        assert (why_apart([Role.UNIT, role]) is not None) == (P.CASES_READ in TABLE[role]), role
    assert why_apart([Role.UNIT]) is None


def test_people_are_seen_whole_by_whoever_answers_for_the_service_alone() -> None:
    assert {role for role in Role if P.CITY_READ_PEOPLE_FULL in TABLE[role]} == {Role.SUPERVISOR}
    looks = {role for role in Role if P.CITY_READ_PEOPLE in TABLE[role]}
    assert looks == {Role.SUPERVISOR, Role.AGENT, Role.COMMAND, Role.COLLECTOR, Role.INSPECTOR}
    assert {role for role in Role if P.CITY_READ in TABLE[role]} >= looks | {Role.UNIT, Role.MAINTAINER}
    assert {role for role in Role if P.CITY_VIEW_CAMERAS in TABLE[role]} == {Role.SUPERVISOR, Role.COMMAND}
    assert {one for one in FOR_KEYS if one.startswith("city:")} == {P.CITY_READ}, "a purpose is a person's"


def test_reading_figures_does_not_have_them_counted_again() -> None:
    assert P.EVALUATION_RECOMPUTE not in FOR_KEYS
    assert {role for role in Role if P.EVALUATION_RECOMPUTE in TABLE[role]} == {Role.SUPERVISOR, Role.ANALYST}


def test_roles_are_put_in_order_and_unknown_ones_named() -> None:
    assert parse_roles(["agent", "admin", "agent"]) == (Role.ADMIN, Role.AGENT)
    with pytest.raises(ValueError, match=r"unknown role 'boss': one of admin, supervisor"):
        parse_roles(["agent", "boss"])
    with pytest.raises(ValueError, match=r"unknown permission 'cases:\*'"):
        parse_permissions(["cases:*"])


def test_the_table_cannot_be_changed_by_running_code() -> None:
    with pytest.raises(TypeError):
        TABLE[Role.AGENT] = frozenset(Permission)  # type: ignore[index]


# -- passwords ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("short", "fewer than 10"),
        ("a" * 300, "more than 256"),
        ("aaaaaaaaaaaa", "fewer than 4 different"),
        ("wang.li123", "little more than the username"),
        ("WANG.LI.12", "little more than the username"),
    ],
)
def test_weak_passwords_are_refused_without_being_repeated(password: str, reason: str) -> None:
    with pytest.raises(passwords.PasswordRefused, match=reason) as refused:
        passwords.check(password, username="wang.li")
    assert password not in str(refused.value)


@pytest.mark.parametrize("password", ["correct horse", "一二三四五六七八九十", "x9!kT2#pLm"])
def test_good_passwords_are_accepted(password: str) -> None:
    passwords.check(password, username="wang.li")


async def test_a_password_is_itself_and_nothing_else() -> None:
    hashing = passwords.Passwords()
    try:
        stored = await hashing.hash("correct horse")
        assert stored.startswith("$argon2id$")
        assert stored != await hashing.hash("correct horse")
        assert await hashing.verify(stored, "correct horse")
        assert not await hashing.verify(stored, "correct horsf")
        assert not await hashing.verify(stored, "")
        assert not await hashing.verify(None, "nobody has this password")
        # The same characters from a full-width keyboard.
        assert await hashing.verify(stored, "\uff43orrect horse")
        assert not hashing.outdated(stored)
        assert hashing.outdated("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$cvKnpTRI3lTfRNoG+MVTQQ")
        with pytest.raises(RuntimeError, match="not argon2id"):
            await hashing.verify("plain text", "plain text")
    finally:
        hashing.close()


async def test_a_storm_of_sign_ins_is_turned_away_and_not_queued_for_ever() -> None:
    import asyncio

    hashing = passwords.Passwords()
    try:
        storm = [asyncio.create_task(hashing.hash("correct horse")) for _ in range(passwords.MAX_WAITING + 5)]
        await asyncio.sleep(0)
        done = await asyncio.gather(*storm, return_exceptions=True)
        assert sum(isinstance(one, passwords.PasswordsBusy) for one in done) == 5
        assert sum(isinstance(one, str) for one in done) == passwords.MAX_WAITING
        assert (await hashing.hash("correct horse")).startswith("$argon2id$")
    finally:
        hashing.close()


# -- tokens ------------------------------------------------------------------------------------------------------------
def test_a_key_splits_into_what_it_was_made_of() -> None:
    for _ in range(200):
        public_id, secret, text = tokens.new_key()
        assert tokens.split_key(text) == (public_id, secret)
        assert re.fullmatch(r"hl_[0-9a-f]{12}_[\w-]{43}", text)


def test_tokens_differ_and_only_tokens_look_like_tokens() -> None:
    made = {tokens.new_token() for _ in range(1000)}
    assert len(made) == 1000
    assert all(tokens.is_token(one) for one in made)
    assert len({tokens.digest(one) for one in made}) == 1000
    for other in ("", "x" * 42, "x" * 44, "x" * 42 + "\n", "' OR 1=1 --", "🔑" * 43):
        assert not tokens.is_token(other)


@given(st.text(max_size=80))
def test_no_text_breaks_the_key_parser(text: str) -> None:
    parts = tokens.split_key(text)
    assert parts is None or f"hl_{parts[0]}_{parts[1]}" == text


# -- guessing ----------------------------------------------------------------------------------------------------------
class Hand:
    """A clock moved by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_address_may_try_a_burst_and_then_one_at_a_time() -> None:
    clock = Hand()
    limit = RateLimit(burst=3, every=10.0, now=clock)
    assert [limit.wait("10.0.0.1") for _ in range(3)] == [0, 0, 0]
    assert limit.wait("10.0.0.1") == pytest.approx(10)
    assert limit.wait("10.0.0.1") == pytest.approx(10)  # asking again does not make it longer
    assert limit.wait("10.0.0.2") == 0
    clock.now += 10
    assert limit.wait("10.0.0.1") == 0
    assert limit.wait("10.0.0.1") == pytest.approx(10)
    clock.now += 3600
    assert [limit.wait("10.0.0.1") for _ in range(4)] == [0, 0, 0, pytest.approx(10)]


def test_one_ipv6_network_is_one_address() -> None:
    limit = RateLimit(burst=1, every=10.0, now=Hand())
    assert limit.wait("2001:db8::1") == 0
    assert limit.wait("2001:db8::ffff") > 0
    assert limit.wait("2001:db8:0:1::1") == 0


def test_many_addresses_do_not_fill_the_memory() -> None:
    limit = RateLimit(now=Hand())
    for number in range(limit.MAX_ADDRESSES + 100):
        limit.wait(f"host-{number}")
    assert len(limit._empty_at) == limit.MAX_ADDRESSES


# -- masking -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("13800138000", "138****8000"),
        ("+8613800138000", "+86138****8000"),
        ("008613800138000", "0086138****8000"),
        ("01062345678", "010****5678"),
        ("02787654321", "027****4321"),
        ("075512345678", "0755****5678"),
        ("4001234567", "400***4567"),
        ("62345678", "62****78"),
        ("110101199003071234", "110101********1234"),
        ("110", "***"),
        ("", ""),
    ],
)
def test_numbers_are_masked(number: str, shown: str) -> None:
    assert mask_number(number) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("我的电话是幺三八零零幺三八零零零", "我的电话是幺三八****八零零零"),
        ("电话13800138000请回电", "电话138****8000请回电"),
        ("电话１３８００１３８０００", "电话１３８****８０００"),
        ("打138 0013 8000", "打138 **** 8000"),
        ("打010-62345678", "打010-****5678"),
        ("身份证11010119900307123X", "身份证110101********123X"),
        ("解放路128号3栋2单元501", "解放路128号3栋2单元501"),
        ("二零二六年十一月二十日", "二零二六年十一月二十日"),
    ],
)
def test_numbers_within_texts_are_masked(text: str, shown: str) -> None:
    assert mask_text(text) == shown


@given(st.text(alphabet="0123456789零一二三四五六七八九幺两 -—X路号\u3000", max_size=60))
@example("1" * 31)
@example("1" * 18 + " " + "2" * 18)
def test_a_masked_text_is_as_long_and_shows_no_long_number(text: str) -> None:
    masked = mask_text(text)
    assert len(masked) == len(text)
    assert not re.search(r"[0-9零一二三四五六七八九幺两]{7,}", masked)


@given(st.text(max_size=40))
def test_no_number_shows_more_than_ten_digits(number: str) -> None:
    masked = mask_number(number)
    assert sum(letter != "*" for letter in masked.removeprefix("+86").removeprefix("0086")) <= 10


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("张三", "张*"),
        ("张小丽", "张**"),
        ("欧阳建国", "欧阳**"),
        ("欧阳修", "欧阳*"),
        ("欧阳", "欧*"),
        ("赵", "*"),
        (" 张三 ", "张*"),
        ("买买提·艾力", "买*****"),
        ("", ""),
        ("  ", ""),
    ],
)
def test_names_keep_the_surname(name: str, shown: str) -> None:
    assert mask_name(name) == shown


def test_an_identity_number_has_a_day_of_birth_and_a_check() -> None:
    assert is_identity_number("11010519491231002X")
    assert is_identity_number("11010519491231002x")
    for other in (
        *("110105194912310021", "11010519491331002X", "91420802MA4TEST01X", "11010519491231002", "", "X" * 18),
        *("１１０１０５１９４９１２３１００２X", " 11010519491231002X"),
    ):
        assert not is_identity_number(other), other
    assert names_a_person("13800138000")
    assert not names_a_person("12319")
    assert not names_a_person("h-13800138000-1")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("13800138000", "138****8000"),
        ("13800138000 张三", "1" + "*" * 13),
        ("张三13800138000", "张" + "*" * 12),
        ("13800138000/13900139000", "138" + "*" * 16 + "9000"),
        ("11010519491231002X", "110105********002X"),
        ("王老板", "王**"),
        ("3栋", "3*"),
        ("", ""),
    ],
)
def test_what_is_personal_is_masked_whatever_it_is(value: str, shown: str) -> None:
    assert mask_personal(value) == shown


def test_numbers_of_enterprises_are_for_all_to_read() -> None:
    text = "91420802MA4TEST01X，许可证4208021234567，电话138 0013 8000或13900139000，法人11010519491231002X"
    assert mask_identifiers(text) == (
        "91420802MA4TEST01X，许可证4208021234567，电话138******8000或139****9000，法人110105********002X"
    )


@given(st.text(max_size=40))
def test_nothing_personal_is_ever_shown_whole(value: str) -> None:
    assert mask_personal(value) == "" or mask_personal(value) != value.strip() or "*" in value
    assert mask_name(value) == "" or "*" in mask_name(value)
