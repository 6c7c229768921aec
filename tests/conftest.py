"""What all tests share: no key and no service of the person who runs them."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # What a test starts is not measured: it would start slower.
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)

# A slow machine is no failure of the code, and what fails in a check comes from the change: it takes the same examples
# each time. HYPOTHESIS_PROFILE=long looks at new ones, and at more than one waits for.
_SLOW = [HealthCheck.too_slow]
settings.register_profile("default", deadline=None, suppress_health_check=_SLOW, derandomize=True)
settings.register_profile("long", deadline=None, suppress_health_check=_SLOW, max_examples=2000)
# For `make mutants`, which runs the same tests hundreds of times.
settings.register_profile(
    "quick", deadline=None, suppress_health_check=_SLOW, max_examples=25, derandomize=True, database=None
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is read of documents is kept for the whole run, and not where the person keeps it who runs the tests."""
    os.environ["CHAT_SESSIONS_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Half of a surrogate pair in a log line is written out: what a test's process is told must be UTF-8."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may see a real key, or reach a real service with it."""
    for name in ("API_KEY", "BASE_URL", "PROJECT_ID", "ORGANIZATION_ID", "CUSTOM_HEADERS"):
        monkeypatch.delenv(f"LLAMA_CLOUD_{name}", raising=False)
    monkeypatch.delenv("LLAMA_PARSE_API_KEY", raising=False)
