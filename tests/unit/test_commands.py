"""The command line: what it refuses, what it never shows."""

from pathlib import Path

import pytest

from callcenter import cli
from callcenter.settings import Settings

pytestmark = pytest.mark.unit


def test_settings_show_no_secret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CALLCENTER_AMI_SECRET", "tell-nobody")
    monkeypatch.setenv("CALLCENTER_DATABASE_URL", "postgresql+asyncpg://hotline:hunter2@db.example/hotline")
    monkeypatch.setenv("CALLCENTER_REDIS_URL", "redis://:hunter3@cache.example/0")
    assert cli.main(["settings"]) == 0
    shown = capsys.readouterr().out
    assert not any(secret in shown for secret in ("tell-nobody", "hunter2", "hunter3"))
    assert "db.example" in shown
    for name in Settings.model_fields:
        assert f"CALLCENTER_{name.upper()}=" in shown


def test_an_unusable_setting_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CALLCENTER_TRUNK_MATCH", '["not an address"]')
    assert cli.main(["settings"]) == 2
    assert "not an address" in capsys.readouterr().err


def test_an_external_asterisk_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["asterisk", "render", "--out", str(tmp_path), "--sounds", "/s", "--spool", "/p"]
    assert cli.main(arguments) == 2
    assert "CALLCENTER_AMI_SECRET" in capsys.readouterr().err


def test_doctor_names_the_mend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CALLCENTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("CALLCENTER_ASTERISK_DIR", str(tmp_path / "no-asterisk"))
    monkeypatch.setenv("CALLCENTER_SPEECH_MODEL", str(tmp_path / "no-model"))
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "MISSING our own Asterisk" in said
    assert "scripts/setup" in said
    assert "callcenter models fetch" in said
