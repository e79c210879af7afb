"""What a city settles in its file is what is in force; what it cannot mean is refused with the key, value and mend."""

from pathlib import Path

import pytest

from callcenter.cases import city_settings
from callcenter.cases.city_settings import DEFAULT_CITY, CitySettingsError, read
from callcenter.cases.deadlines import Limit, LimitUnit

pytestmark = pytest.mark.unit


def written(folder: Path, text: str) -> Path:
    path = folder / "city.toml"
    path.write_text(text, "utf-8")
    return path


def test_what_the_file_says_is_taken_and_the_rest_is_as_by_default(tmp_path: Path) -> None:
    found = read(
        written(
            tmp_path,
            'dispatch_by_rule = false\nwork_periods = ["08:30-12:00", "14:00-17:30"]\n'
            '[limits]\nsign_danger = "0.5 urgent_hour"\ncitizen = "10 work_day"\n[lamps]\nred_after_h = 72\n',
        )
    )
    assert found.sign_danger == Limit(0.5, LimitUnit.URGENT_HOUR)
    assert found.limit_of("citizen") == Limit(10, LimitUnit.WORK_DAY)
    assert found.sign == DEFAULT_CITY.sign
    assert not found.dispatch_by_rule
    assert found.work_periods == ("08:30-12:00", "14:00-17:30")
    assert (found.lamps.red_after_h, found.lamps.yellow_after_h) == (72, 24)
    assert read(written(tmp_path, "")) == DEFAULT_CITY


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("limits = 3", r"limits must be a table"),
        ('[limits]\nsing = "1 work_day"', r"limits\.sing is none of .*sign"),
        ('[limits]\nsign = "1 day"', r"limits\.sign = '1 day' must be a number and one of urgent_hour"),
        ('[limits]\nsign = "-1 work_day"', r"limits\.sign"),
        ("[lamps]\nred_after_h = 1", "red not before yellow"),
        ("[lamps]\nblue = 1", "blue"),
        ("[alike]\nnear_m = 0", r"alike\.near_m = 0 must be above 0"),
        ("[alike]\nhot_callers = 1", "one caller is no crowd"),
        ('work_periods = ["25:00-26:00"]', "25:00-26:00"),
        ("dispatch_by_rule = 1", "true or false"),
        ("colour = 1", "colour: there are only"),
        ("= 1", "cannot be read as TOML"),
    ],
)
def test_what_it_cannot_mean_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(CitySettingsError, match=why):
        read(written(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CitySettingsError, match=r"no\.toml"):
        read(tmp_path / "no.toml")


def test_what_is_put_in_force_is_what_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(city_settings, "_in_force", [])
    assert city_settings.in_force() is DEFAULT_CITY
    other = city_settings.CitySettings(dispatch_by_rule=False)
    city_settings.use(other)
    assert city_settings.in_force() is other
