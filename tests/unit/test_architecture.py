"""The house's one-way streets: what ARCHITECTURE.md says about imports is true."""

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
BUILDER = "callcenter/runtime.py"

FORBIDDEN = [
    # (who, may not import, but for)
    ("classifier/", ("callcenter", "api"), ()),
    ("callcenter/", ("api",), (BUILDER,)),
    ("callcenter/telephony/", ("callcenter.cases", "callcenter.dispatch", "callcenter.calls"), ()),
    ("callcenter/speech/", ("callcenter.cases", "callcenter.dispatch", "callcenter.calls", "callcenter.telephony"), ()),
    ("callcenter/cases/", ("callcenter.telephony", "callcenter.speech"), ()),
    ("callcenter/dispatch/", ("callcenter.telephony", "callcenter.speech"), ()),
    ("callcenter/insight/", ("callcenter.telephony", "callcenter.speech", "callcenter.compute"), ()),
]


def imports(path: Path) -> set[str]:
    """Every module that ``path`` imports, for types or for real."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize(("who", "what", "but"), FORBIDDEN)
def test_imports_run_one_way(who: str, what: tuple[str, ...], but: tuple[str, ...]) -> None:
    files = [path for path in (ROOT / who).rglob("*.py") if str(path.relative_to(ROOT)) not in but]
    assert files, f"nothing under {who}: has the house changed?"
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files
        for name in imports(path)
        if any(name == banned or name.startswith(banned + ".") for banned in what)
    }
    assert not wrong


def test_runtime_alone_builds_the_http_face() -> None:
    assert any(name.startswith("api") for name in imports(ROOT / BUILDER))
