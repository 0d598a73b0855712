"""Runs tests in forks: once to see which lines each of them executes, then for each planted fault."""

import ast
import contextlib
import importlib.machinery
import json
import os
import resource
import signal
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TESTS = (
    "execution/test_spline", "execution/test_schemes", "execution/test_setpoints",
    "runtime/test_schedule", "safety/test_stopping_path", "safety/test_setpoint_limits", "execution/test_stopping_trajectory", "runtime/test_control", "runtime/test_control_plan", "runtime/test_control_mode", "safety/test_twist_limits",
    "execution/test_execution", "execution/test_execution_instruction", "execution/test_gripper_goals", "safety/test_guard", "safety/test_guard_moments",
    "safety/test_collisions", "safety/test_guard_kinematics", "safety/test_collision_models", "safety/test_guard_parts", "safety/test_late_ticks", "safety/test_limits", "safety/test_guard_state",
    "safety/test_rate_limits", "execution/test_to_absolute", "safety/test_hold", "safety/test_controller_state", "safety/test_stillness",
    "safety/test_stillness_bounds", "execution/test_timeline", "safety/test_watchdog",
)  # fmt: skip
# The plugins of an installation are left out: what they do between tests costs time, and a test that fails is not
# tried again.
OPTIONS = ("-p", "_hypothesis_pytestplugin", "-p", "no:cacheprovider", "-s", "-W", "ignore")
LEAST_S, TIMES = 10.0, 8.0  # a fault may make the tests slower than they are by this
MEMORY = 6 << 30  # bytes of a fork; a fault that eats more ends it


@dataclass
class Reached:
    """contexts: file -> line -> which tests, fixtures and modules of tests executed it. seconds: of each test.

    users: fixture or module of tests -> the tests that need it.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    contexts: dict[str, dict[int, list[str]]] = field(default_factory=dict)
    users: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    failed: list[str] = field(default_factory=list)

    def to_dict(self) -> dict:
        """Plain JSON data."""
        return {
            "seconds": self.seconds,
            "contexts": self.contexts,
            "users": {name: sorted(tests) for name, tests in self.users.items()},
            "failed": self.failed,
        }

    @classmethod
    def from_dict(cls, data: dict) -> "Reached":
        """Inverse of to_dict."""
        contexts = {
            file: {int(line): found for line, found in lines.items()}
            for file, lines in data["contexts"].items()
        }
        users = {name: set(tests) for name, tests in data["users"].items()}
        return cls(data["seconds"], contexts, users, data["failed"])

    @property
    def total_s(self) -> float:
        return sum(self.seconds.values())

    def tests(self, file: str, line: int) -> set[str]:
        found = set()
        for context in self.contexts.get(file, {}).get(line, ()):
            found |= {context} if context in self.seconds else self.users.get(context, set())
        return found

    def when_loaded(self, file: str, lines: range) -> bool:
        """Whether a module of tests executes it when it is loaded, before its tests run."""
        return any(
            context.startswith("module ")
            for line in lines
            for context in self.contexts.get(file, {}).get(line, ())
        )


def preload() -> None:
    """Load what the tests need of other projects, once for all forks; and fix the random seeds."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"
    import coverage
    import hypothesis.strategies
    import mujoco
    import numpy.random

    assert coverage and mujoco and numpy.random and hypothesis.strategies
    phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
    hypothesis.settings.register_profile(
        "mutation", derandomize=True, database=None, deadline=None, phases=phases
    )
    os.environ["HYPOTHESIS_PROFILE"] = "mutation"  # conftest.py loads it: no time for shrinking


def baseline(scratch: Path, files: list[str]) -> Reached:
    """One run of all tests on the code as it is. Raises RuntimeError if one fails."""
    out = scratch / "reached"

    def work() -> None:
        import coverage

        watch = coverage.Coverage(data_file=None, include=[os.path.realpath(f) for f in files])
        plugin = _Reaching(watch)
        watch.start()
        pytest.main([*OPTIONS, *_paths()], plugins=[plugin])
        watch.stop()
        data = watch.get_data()
        for file in files:
            plugin.reached.contexts[file] = data.contexts_by_lineno(os.path.realpath(file))
        out.write_text(json.dumps(plugin.reached.to_dict()))

    status = _in_fork(work, limit_s=600)
    reached = Reached(failed=["all of them"])
    if out.exists():
        reached = Reached.from_dict(json.loads(out.read_text()))
    if status != 0 or reached.failed or not reached.seconds:
        raise RuntimeError(f"the tests must pass as they are; these did not: {reached.failed}")
    return reached


class _Reaching:
    def __init__(self, watch: object) -> None:
        self.watch, self.reached = watch, Reached()

    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        if isinstance(collector, pytest.Module):
            self.watch.switch_context(f"module {collector.nodeid}")

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: object, request: pytest.FixtureRequest) -> object:
        if fixturedef.scope == "function":
            return (yield)
        self.watch.switch_context(f"fixture {fixturedef.argname}")
        try:
            return (yield)
        finally:
            self.watch.switch_context(request.node.nodeid or "")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            self.reached.users[f"module {item.nodeid.partition('::')[0]}"].add(item.nodeid)
            for name in item.fixturenames:
                self.reached.users[f"fixture {name}"].add(item.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> object:
        self.watch.switch_context(item.nodeid)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.reached.failed.append(report.nodeid)
        seconds = self.reached.seconds
        seconds[report.nodeid] = seconds.get(report.nodeid, 0.0) + report.duration


def run(mutants, trees, chosen, reached, processes, scratch, left, note) -> dict[int, str]:
    """The outcome of each mutant of left, by index: killed, time or survived. chosen: its tests, the fastest first.

    note(index, outcome) is called as soon as an outcome is known.
    """
    outcomes = dict.fromkeys(left, "survived")
    limits_s = [LEAST_S + TIMES * sum(reached.seconds[t] for t in tests) for tests in chosen]
    warm = [i for i in left if mutants[i].loaded is None and chosen[i]]
    cold = {
        i for i in left if chosen[i]
        and (mutants[i].loaded is not None or reached.when_loaded(mutants[i].file, mutants[i].lines))
    }  # fmt: skip

    def note_warm(i: int, outcome: str) -> None:
        if outcome != "survived" or i not in cold:
            note(i, outcome)

    for i in left:
        if not chosen[i]:
            note(i, "survived")
    shares = [warm[k::processes] for k in range(processes)]
    warm_job = lambda share: lambda: _warm(share, mutants, trees, chosen, limits_s, note_warm)  # noqa: E731
    outcomes |= _parallel([warm_job(share) for share in shares], scratch)
    again = [i for i in sorted(cold) if outcomes[i] == "survived"]
    shares = [again[k::processes] for k in range(processes)]
    cold_job = lambda share: lambda: _cold(share, mutants, trees, chosen, limits_s, note)  # noqa: E731
    outcomes |= _parallel([cold_job(share) for share in shares], scratch)
    return outcomes


def _parallel(jobs: list, scratch: Path) -> list[tuple[int, str]]:
    """What each job returns, in a fork of its own."""
    children = []
    for k, job in enumerate(jobs):
        out = scratch / f"outcomes {k}"
        pid = os.fork()
        if pid == 0:
            try:
                out.write_text(json.dumps(job()))
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(1)
        children.append((pid, out))
    found = []
    for pid, out in children:
        _, status = os.waitpid(pid, 0)
        if status != 0:
            raise RuntimeError(f"a server of tests ended with {status}")
        found += [tuple(pair) for pair in json.loads(out.read_text())]
    return found


def _warm(share, mutants, trees, chosen, limits_s, note) -> list[tuple[int, str]]:
    """Plants a fault in functions that are loaded already."""
    outcomes = []

    def serve(server: _Server) -> None:
        every = sorted(set().union(*(chosen[i] for i in share)))
        if share and _outcome(_in_fork(lambda: server.run(every), 600)) != "survived":
            raise RuntimeError("the tests fail without any fault when they run in a fork")
        for i in share:
            mutant, tree = mutants[i], trees[mutants[i].file]

            def work(mutant=mutant, tree=tree, tests=chosen[i]) -> None:
                mutant.apply()
                _replace(mutant, compile(ast.fix_missing_locations(tree), mutant.file, "exec"))
                server.run(tests)

            outcomes.append((i, _outcome(_in_fork(work, limits_s[i]))))
            note(*outcomes[-1])
            if outcomes[-1][1] == "survived":
                print("survived:", " | ".join(mutant.identity), file=log, flush=True)

    log = os.fdopen(os.dup(1), "w")
    _quiet()
    server = _Server(serve)
    pytest.main([*OPTIONS, *_paths()], plugins=[server])
    if server.error is not None:
        raise server.error
    return outcomes


def _cold(share, mutants, trees, chosen, limits_s, note) -> list[tuple[int, str]]:
    """Plants a fault before anything of the project is loaded."""
    outcomes = []
    for i in share:
        mutant, tree = mutants[i], trees[mutants[i].file]

        def work(mutant=mutant, tree=tree, tests=chosen[i]) -> None:
            _quiet()
            mutant.apply()
            _load_instead(mutant.file, ast.fix_missing_locations(tree))
            paths = sorted({test.partition("::")[0] for test in tests})
            code = pytest.main([*OPTIONS, "-x", *paths], plugins=[_Only(tests)])
            os._exit(0 if code == 0 else 1)

        outcomes.append((i, _outcome(_in_fork(work, limits_s[i]))))
        note(*outcomes[-1])
    return outcomes


def _replace(mutant, code) -> None:
    """Give the function of a mutant, wherever it is referred to, the code of the changed module."""
    module = sys.modules[mutant.file.removesuffix(".py").replace("/", ".")]
    function, changed = module, code
    for name in mutant.function.split("."):
        function = vars(function)[name]
        changed = next(c for c in changed.co_consts if getattr(c, "co_name", None) == name)
    function.__code__ = changed


def _load_instead(file: str, tree: ast.Module) -> None:
    original = importlib.machinery.SourceFileLoader.get_code
    changed = os.path.realpath(file)

    def get_code(loader, fullname):
        if os.path.realpath(loader.path) == changed:
            return compile(tree, loader.path, "exec")
        return original(loader, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code


class _Server:
    """Keeps a session of pytest open and runs chosen tests in it. error: why it could not serve."""

    def __init__(self, serve: Callable[["_Server"], None]) -> None:
        self.serve, self.error, self.items = serve, None, {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        try:
            self.serve(self)
        except RuntimeError as error:
            self.error = error
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            os._exit(1)

    def run(self, tests: list[str]) -> None:
        items = [self.items[test] for test in tests]
        for item, after in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)


class _Only:
    """Runs these tests in this order."""

    def __init__(self, tests: list[str]) -> None:
        self.order = {test: k for k, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        kept = [item for item in items if item.nodeid in self.order]
        items[:] = sorted(kept, key=lambda item: self.order[item.nodeid])


def _in_fork(work, limit_s: float) -> int:
    """The wait status of a fork that does some work; SIGALRM if it took longer."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, limit_s)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1]


def _outcome(status: int) -> str:
    if status == 0:
        return "survived"
    return "time" if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM else "killed"


def _quiet() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with contextlib.suppress(ValueError):
        sys.stdout.flush()
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _paths() -> list[str]:
    return [f"test/{name}.py" for name in TESTS]
