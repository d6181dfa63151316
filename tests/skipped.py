"""What a run of the tests left out, in one line at its end, and whether that is more than it may leave out."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

# Reasons of skips, as patterns: what is not tested, and what to do about it.
KINDS = {
    "no level A ": ("the sandbox at level A", "install bubblewrap, and allow user namespaces"),
    "no working bubblewrap": ("the sandbox at level A", "install bubblewrap, and allow user namespaces"),
    "no bubblewrap": ("the sandbox at level A", "install bubblewrap, and allow user namespaces"),
    "no level B |no Landlock": ("the sandbox at level B", "needs Linux 6.7 or newer with Landlock"),
    "Chromium": ("the annotation page in a browser", "install chromium"),
    "could not import '(wandb|trackio|openai|fastapi)'": (r"\1", r"pip install \1"),
    "ordinary user|can be used by others": ("the sandbox as an ordinary user", "run as root, with a python for all"),
    "needs make": ("the Makefile", "install make"),
    "no kernel headers": ("system calls of the other processor", "needs its kernel headers"),
}


def describe(reason: str) -> tuple[str, str]:
    """Say what a skip leaves untested, and what to install; a reason that is not listed speaks for itself."""
    for pattern, kind in KINDS.items():
        if found := re.search(pattern, reason):
            what, remedy = (found.expand(text) for text in kind)
            return what, remedy
    return " ".join(reason.removeprefix("Skipped: ").split()), ""


def line(reasons: Iterable[str]) -> str:
    """Write the line: each kind once, with its number of tests."""
    counts = Counter(describe(reason) for reason in reasons)
    parts = [f"{what} ({n}{f'; {remedy}' if remedy else ''})" for (what, remedy), n in counts.most_common()]
    return f"NOT TESTED: {', '.join(parts)}" if parts else "nothing was skipped"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--skips-allowed",
        metavar="PATTERN",
        help="fail where a test is skipped whose reason does not match this regular expression",
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """Say it after everything else, in the process that collects all results."""
    yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if hasattr(session.config, "workerinput") or reporter is None or session.config.option.collectonly:
        return
    skipped = [report for report in reporter.stats.get("skipped", []) if isinstance(report.longrepr, tuple)]
    reasons = [report.longrepr[2] for report in skipped]
    expression = session.config.option.markexpr
    reporter.write_line(f"{line(reasons)}{f'; run: {expression}' if expression else ''}")
    allowed = session.config.getoption("--skips-allowed")
    if allowed is not None and (others := [r for r in reasons if not re.search(allowed, r)]):
        reporter.write_line(f"ERROR: {len(others)} skips are not allowed here: {line(others)}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
