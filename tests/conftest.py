"""Fixtures that every folder of tests may use, and how often a test is tried."""

import pytest

from tests.databases import db, db_url, empty_url, migrated_templates, pg_db, postgres

__all__ = ["db", "db_url", "empty_url", "migrated_templates", "pg_db", "postgres"]

MOST_TRIED_AGAIN = 3
"""Tests of one run that may fail and then pass; more is no accident of a busy machine and fails the run."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test with real telephones, servers and clocks on a busy machine may be tried twice; a pure one may not."""
    for item in items:
        if any(item.iter_markers("integration")) or any(item.iter_markers("e2e")):
            item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=2))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails a run in which too many tests needed a second try. The summary names each (RERUN)."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    again = len(reporter.stats.get("rerun", [])) if reporter else 0
    if again > MOST_TRIED_AGAIN and session.exitstatus == 0:
        reporter.write_line(f"{again} tests failed at first, {MOST_TRIED_AGAIN} may: see RERUN below", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
