"""Ports outlive a bridge."""

import socket
from pathlib import Path

import pytest

from callcenter.telephony.ports import Ports

pytestmark = pytest.mark.unit


def test_a_port_is_free_and_stays_the_same(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    first = Ports(file).keep("agi")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", first))
    assert Ports(file).keep("agi") == first
    assert Ports(file).keep("audiosocket") != first
    assert Ports(file).keep("http", wanted=18080) == 18080


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    file.write_text("{")
    with pytest.raises(ValueError, match=r"ports\.json is not a list of ports: delete it"):
        Ports(file)
