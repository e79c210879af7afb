"""Whole hotlines for whole calls: a process of our own, an Asterisk of our own, callers nobody here wrote."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.peers import sipp
from tests.peers.hotline import Hotline

INVITED_AFTER_S = 10.6
"""Greeting and invitation to speak are over this long after the answer; a citizen waits for them."""

HotlineMaker = Callable[..., Hotline]


@pytest.fixture
def make_hotline(tmp_path: Path) -> Iterator[HotlineMaker]:
    """Start a hotline with settings of the test's own (``CALLCENTER_`` is put before each name)."""
    made: list[Hotline] = []

    def make(data_dir: Path | None = None, **settings: str) -> Hotline:
        env = {f"CALLCENTER_{name.upper()}": value for name, value in settings.items()}
        hotline = Hotline(data_dir or tmp_path / f"hotline{len(made)}", env={"CALLCENTER_DEMO_LINE": "true", **env})
        made.append(hotline)
        hotline.start()
        return hotline.set_up()

    yield make
    for hotline in made:
        hotline.stop()


@pytest.fixture(scope="module")
def hotline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hotline]:
    """One hotline for a module's tests."""
    one = Hotline(tmp_path_factory.mktemp("hotline"), env={"CALLCENTER_DEMO_LINE": "true"})
    try:
        one.start()
        one.set_up()
        one.add_user("zhang", ["agent"], extension="101")
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A sentence as raw A-law, said after ``lead`` seconds of silence; each is rendered once."""
    folder = tmp_path_factory.mktemp("speech")

    def render(text: str, lead: float = INVITED_AFTER_S) -> Path:
        path = folder / f"{hashlib.sha256(f'{lead} {text}'.encode()).hexdigest()[:16]}.al"
        if not path.exists():
            sipp.render_speech(text, path, lead=lead)
        return path

    return render
