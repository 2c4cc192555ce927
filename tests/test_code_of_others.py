"""Where the package runs code that is not its own: a stranger's store, results or cache cannot."""

import ast
from pathlib import Path

import numpy as np
import pytest

import headstart
from headstart.store import ResultStore
from stores import make_result

SOURCE = Path(headstart.__file__).parent
# What may run code that it reads. `pickle.Unpickler` is one that is used as it is.
CALLS = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "torch.load", "eval", "exec", "compile",
    "__import__", "yaml.load", "marshal.load", "marshal.loads", "shelve.open", "joblib.load",
    "pd.read_pickle", "pandas.read_pickle", "os.system", "dill.load", "cloudpickle.load",
}  # fmt: skip
# Each with its reason; none of them reads a store, a table of results, or a cache.
ALLOWED = {
    # Of nothing.
    ("interrupts.py", "exec"),
    # Between a run and its own workers, by a pipe, by Ray, or in files that this user alone writes.
    ("executors/pool.py", "pickle.loads"),
    ("executors/ray_cluster.py", "pickle.loads"),
    ("executors/slurm.py", "pickle.loads"),
    # A function that the user names; one in a study file with --trust alone.
    ("functions.py", "compile"),
    ("functions.py", "exec"),
    # Weights: by unpicklers that know tensors alone, else with --trust alone.
    ("models/weight_files.py", "pickle.loads"),
    ("models/weight_files.py", "torch.load"),
}


def calls_of(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [(ast.unparse(call.func), call) for call in calls]


def test_only_these_run_code_that_they_read():
    found, unpickled = set(), []
    for path in sorted(SOURCE.rglob("*.py")):
        for name, call in calls_of(ast.parse(path.read_text())):
            if name in CALLS:
                found.add((path.relative_to(SOURCE).as_posix(), name))
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            if name in ("np.load", "numpy.load") or "allow_pickle" in given:
                unpickled.append(given.get("allow_pickle"))
    assert found == ALLOWED
    # numpy does not by default, either.
    assert set(unpickled) <= {"False", None}


class Evil:
    """A pickle of it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("command", ["results show digits", "store check", "cache verify"])
def test_pickles_in_place_of_files_run_nothing(cli, tmp_path, own_cache, command):
    mark, store = tmp_path / "ran", ResultStore(tmp_path / "r.db", create=True)
    store.add(make_result())
    (own_cache / "features").mkdir(parents=True)
    evil = np.array([Evil(mark)], dtype=object)
    with (own_cache / "features" / "a.npy").open("wb") as file:
        np.save(file, evil, allow_pickle=True)
    (own_cache / "features" / "a.json").write_text("{}")
    for file in (tmp_path / "r.db.predictions").iterdir():
        np.save(file.with_suffix(".npy"), evil, allow_pickle=True)
        file.with_suffix(".npy").replace(file)
    options = () if "cache" in command else ("--store", store.path)
    outcome = cli(*command.split(), *options)
    assert not mark.exists()
    assert "Traceback" not in outcome.err
    # The pickle works.
    with (own_cache / "features" / "a.npy").open("rb") as file:
        np.load(file, allow_pickle=True)
    assert mark.exists()
