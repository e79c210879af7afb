"""Templates to Asterisk's configuration: what is filled in, what is refused, what the project's own templates hold."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callcenter.settings import REPOSITORY, Settings
from callcenter.telephony import dialplan
from callcenter.telephony.dialplan import AsteriskEndpoint, DialplanError, Place, Values, render_text

pytestmark = pytest.mark.unit

DIALPLANS = REPOSITORY / "dialplans"

PLACE = Place(root=Path("/r"), installation=Path("/i"), sounds=Path("/s"), control=Path("/c"))


def endpoint(**changed: object) -> AsteriskEndpoint:
    given_ = {
        "sip_host": "127.0.0.1",
        "sip_port": 5062,
        "ami_host": "127.0.0.1",
        "ami_port": 5039,
        "ami_user": "hotline",
        "ami_secret": "secret-of-ami",
        "agents": {"101": "password-of-101", "102": "password-of-102"},
        "trunk_ip": "127.0.0.2",
    }
    return AsteriskEndpoint(**(given_ | changed))  # type: ignore[arg-type]


def values(settings: Settings | None = None, **changed: object) -> Values:
    return dialplan.values(settings or Settings(), endpoint(**changed), PLACE, agi_port=4573, audiosocket_port=9092)


def rendered(settings: Settings | None = None) -> dict[str, str]:
    return dialplan.render(DIALPLANS, values(settings))


KNOWN = Values({"HOST": "127.0.0.1", "PORT": "5060"}, {"AGENT": [{"AGENT": "101"}, {"AGENT": "102"}], "NONE": []})


def test_placeholders_are_filled_wherever_they_stand() -> None:
    text = "bind = @HOST@:@PORT@ ; mail@example @lower@"
    assert render_text(text, KNOWN, name="t") == "bind = 127.0.0.1:5060 ; mail@example @lower@\n"


def test_an_unknown_placeholder_names_file_line_and_what_there_is() -> None:
    with pytest.raises(DialplanError, match=r"pjsip\.conf:2: no value for @HSOT@: one of HOST, PORT"):
        render_text("\nbind = @HSOT@", KNOWN, name="pjsip.conf")


def test_a_block_is_repeated_for_every_entry_and_may_use_the_others() -> None:
    text = "a\n;@each AGENT\n[@AGENT@]\nhost=@HOST@\n;@end\nz"
    assert render_text(text, KNOWN, name="t") == "a\n[101]\nhost=127.0.0.1\n[102]\nhost=127.0.0.1\nz\n"
    assert render_text("a\n;@each NONE\nx\n;@end\nz", KNOWN, name="t") == "a\nz\n"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (";@each AGENT\nx", ";@each AGENT without ;@end"),
        ("x\n;@end", ";@end without ;@each"),
        (";@each WHO\nx\n;@end", "no list WHO"),
        ("@AGENT@", "no value for @AGENT@"),
    ],
)
def test_faulty_blocks_are_named(text: str, fault: str) -> None:
    with pytest.raises(DialplanError, match=re.escape(fault)):
        render_text(text, KNOWN, name="t")


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_no_secret_can_open_a_line_or_a_section_of_its_own(secret: str) -> None:
    if re.search(r"[\x00-\x1f\x7f;\"$\\]", secret):
        with pytest.raises(DialplanError, match="a secret") as refused:
            values(ami_secret=secret)
        assert len(secret) < 4 or secret not in str(refused.value)
        return
    text = render_text("[hotline]\nsecret = @AMI_SECRET@\nread = call", values(ami_secret=secret), name="t")
    assert text == f"[hotline]\nsecret = {secret}\nread = call\n"


@pytest.mark.parametrize("line", ["", "12319,1,Hangup", "_X.", "12 319", "12319\n", "s", "1" * 21])
def test_a_line_is_digits(line: str) -> None:
    with pytest.raises(DialplanError, match="CALLCENTER_LINES"):
        values(Settings(lines=(line,)))


@pytest.mark.parametrize("extension", ["", "10a", "101]", "+1"])
def test_an_extension_is_digits(extension: str) -> None:
    with pytest.raises(DialplanError, match="CALLCENTER_AGENT_EXTENSIONS"):
        values(Settings(agent_extensions=(extension,)))


def test_a_range_of_ports_needs_room() -> None:
    with pytest.raises(DialplanError, match="CALLCENTER_RTP_LAST_PORT"):
        values(Settings(rtp_first_port=20000, rtp_last_port=20002))


def test_the_project_s_templates_leave_nothing_unfilled_and_use_every_value() -> None:
    files = rendered()
    for name, text in files.items():
        assert not re.search(r"@[A-Z]|;@", text), name
    used = set()
    for path in DIALPLANS.rglob("*.conf"):
        used |= set(re.findall(r"@([A-Z][A-Z0-9_]*)@", path.read_text("utf-8")))
    known = values()
    assert used == set(known.scalars) | {name for entries in known.lists.values() for name in entries[0]}


def test_every_part_of_the_hotline_is_included_by_ours() -> None:
    files = rendered()
    parts = [name for name in files if name.startswith("hotline/")]
    assert len(parts) == 5
    for part in parts:
        assert f"#include {part}" in files[part.removeprefix("hotline/")]


def test_the_trunk_never_takes_its_caller_id_from_the_message_and_reaches_only_the_lines() -> None:
    trunk = rendered(Settings(trunk_match=("198.51.100.0/24", "203.0.113.7")))["hotline/pjsip.conf"]
    section = trunk[trunk.index("[hotline-trunk]") : trunk.index("[hotline-agent](!)")]
    assert 'callerid = "trunk" <0>' in section
    assert "trust_id_inbound = no" in section
    assert "allow_transfer = no" in section
    assert "context = from-trunk" in section
    assert "match = 198.51.100.0/24\nmatch = 203.0.113.7/32\n" in section


def test_every_line_and_every_agent_has_its_place() -> None:
    files = rendered(Settings(lines=("12319", "12345"), agent_extensions=("102",)))
    assert re.findall(r"^exten => (\d+),1,Set\(RUNG", files["hotline/extensions.conf"], re.MULTILINE) == [
        "12319",
        "12345",
    ]
    assert "member => PJSIP/agent102,0,agent102,PJSIP/agent102" in files["hotline/queues.conf"]
    assert "agent101" not in "".join(files.values())
    assert "password = password-of-102" in files["hotline/pjsip.conf"]


def test_an_ipv6_bridge_is_bracketed() -> None:
    files = rendered(Settings(bridge_host="::1"))
    assert "agi://[::1]:4573/incoming" in files["hotline/extensions.conf"]
    assert "AudioSocket/[::1]:9092/" in files["hotline/extensions.conf"]
    assert "permit = ::1/128" in files["hotline/manager.conf"]
    with pytest.raises(DialplanError, match="CALLCENTER_BRIDGE_HOST"):
        rendered(Settings(bridge_host="localhost"))


def test_the_bridge_s_ami_user_may_do_little_and_comes_from_one_address() -> None:
    manager = rendered()["hotline/manager.conf"]
    rights = dict(line.split(" = ", 1) for line in manager.splitlines() if " = " in line and not line.startswith(";"))
    assert set(rights["write"].split(",")) == {"originate", "call", "agent", "reporting"}
    assert not {"command", "config", "system", "all"} & set(rights["write"].split(","))
    assert "deny = 0.0.0.0/0\ndeny = ::/0\npermit = 127.0.0.1/32\n" in manager
    assert "bindaddr = 127.0.0.1" in rendered()["manager.conf"]


def test_nothing_that_a_caller_made_is_run_or_named_on_disk() -> None:
    plan = rendered()["hotline/extensions.conf"]
    code = "\n".join(line for line in plan.splitlines() if not line.lstrip().startswith(";"))
    assert not re.search(r"\b(System|TrySystem|SHELL|EVAL|Exec|TryExec)\(", code)
    for line in code.splitlines():
        if "MixMonitor(" in line or "FILE(" in line:
            name = line.split("FILE(")[-1].split(",")[0] if "FILE(" in line else line
            assert "${NUMBER}" not in name


def test_no_log_keeps_who_called() -> None:
    files = rendered()
    assert "queue_log = no" in files["logger.conf"]
    assert re.findall(r"^\S+ => (.*)$", files["logger.conf"], re.MULTILINE) == ["warning,error"]
    assert "enable = no" in files["cdr.conf"]
    assert not [name for name in dialplan.modules(DIALPLANS) if name.startswith(("cdr_", "cel_"))]


def test_missing_templates_are_named(tmp_path: Path) -> None:
    with pytest.raises(DialplanError, match="CALLCENTER_DIALPLANS_DIR"):
        dialplan.render(tmp_path, values())
    with pytest.raises(DialplanError, match="CALLCENTER_DIALPLANS_DIR"):
        dialplan.modules(tmp_path)


def test_the_trunk_s_own_address() -> None:
    assert dialplan.trunk_ip(Settings()) == "127.0.0.2"
    assert dialplan.trunk_ip(Settings(trunk_match=())) == ""
