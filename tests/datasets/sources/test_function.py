"""A function of the user's that gives a dataset."""

from pathlib import Path

import numpy as np
import pytest

from headstart import datasets
from headstart.context import ProgressReporter
from headstart.datasets.dataset_name import DatasetName
from headstart.datasets.sources.function import FunctionSource
from refusals import refused

START = """
import numpy as np

GREY = np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6)
COLOUR = np.zeros((2, 5, 6, 3), np.uint8)


def load():
    return """


@pytest.fixture
def asked(tmp_path):
    """Write a function that gives the value of an expression, and ask for it."""

    def write(expression):
        (tmp_path / "data.py").write_text(f"{START}{expression}\n")
        return DatasetName.parse(f"{tmp_path}/data.py:load")

    return write


def read(asked):
    return FunctionSource().read(asked, Path())


def test_images_and_labels(asked):
    raw = read(asked("GREY, [2, 0, 1, 0]"))
    assert raw.classes == ("0", "1", "2")
    part = raw.parts["all"]
    assert list(raw.parts) == ["all"]
    assert part.labels.tolist() == [2, 0, 1, 0]
    assert part.labels.dtype == np.int64
    assert part.rows.tolist() == [0, 1, 2, 3]
    expected = np.arange(30, 60, dtype=np.uint8).reshape(5, 6)
    np.testing.assert_array_equal(np.asarray(part.images.decode(1)), expected)


@pytest.mark.parametrize(("labels", "classes", "places"), [
    ("['b', 'a', 'b', 'b']", ("a", "b"), [1, 0, 1, 1]),
    ("np.array(['10', '9', '9', '9'])", ("9", "10"), [1, 0, 0, 0]),
    ("np.array(['b', 'a', 'b', 'b'], dtype=object)", ("a", "b"), [1, 0, 1, 1]),
    ("['b', 'a', 'b', 'b'], ['b', 'c', 'a']", ("b", "c", "a"), [0, 2, 0, 0]),
    ("np.array([1, 0, 0, 1], np.uint8), ('x', 'y')", ("x", "y"), [1, 0, 0, 1]),
    ("np.array([True, False, False, True])", ("0", "1"), [1, 0, 0, 1]),
])  # fmt: skip
def test_labels_of_every_kind(asked, labels, classes, places):
    raw = read(asked(f"GREY, {labels}"))
    assert raw.classes == classes
    assert raw.parts["all"].labels.tolist() == places


def test_parts(asked):
    given = asked("{'classes': ['x', 'y'], 'test': (COLOUR, [1, 1]), 'val': (GREY, [0] * 4), "
                  "'train': [COLOUR, [0, 1]]}")  # fmt: skip
    raw = read(given)
    assert raw.classes == ("x", "y")
    assert list(raw.parts) == ["train", "validation", "test"]
    assert len(raw.parts["validation"]) == 4
    assert raw.parts["test"].labels.tolist() == [1, 1]
    assert raw.parts["train"].images.decode(0).mode == "RGB"


def test_classes_are_those_of_all_parts(asked):
    given = asked("{'train': (COLOUR, ['b', 'a']), 'test': (COLOUR, ['c', 'a'])}")
    raw = read(given)
    assert raw.classes == ("a", "b", "c")
    assert raw.parts["test"].labels.tolist() == [2, 0]


def test_several_labels_an_image(asked):
    several = asked("COLOUR, [[1, 0, 0], [1, 1, 0]]")
    assert FunctionSource().describe(several).metric == "voc-map-11point"
    raw = read(several)
    assert raw.classes == ("0", "1", "2")
    # 0 is absent where nothing is -1, else it is neither.
    assert raw.parts["all"].labels.tolist() == [[1, -1, -1], [1, 1, -1]]
    given = "{'train': (COLOUR, [[1, 0], [0, -1]]), 'test': (COLOUR, np.eye(2, dtype=int))}"
    raw = read(asked(given))
    assert raw.parts["train"].labels.tolist() == [[1, 0], [0, -1]]
    assert raw.parts["test"].labels.tolist() == [[1, 0], [0, 1]]
    assert FunctionSource().describe(asked("COLOUR, [0, 1]")).metric == "top-1"


def test_paths(asked, tmp_path, monkeypatch):
    for name in ("1.png", "2.png"):
        (tmp_path / name).write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    given = asked("['1.png', __import__('pathlib').Path('2.png').absolute()], ['a', 'b']")
    images = read(given).parts["all"].images
    assert images.paths == (tmp_path / "1.png", tmp_path / "2.png")
    given = asked("np.array(['1.png', '2.png']), ['a', 'b']")
    assert read(given).parts["all"].images.paths == images.paths


def test_it_is_called_once_until_the_file_changes(asked, tmp_path):
    count = tmp_path / "count"
    count.write_text("")
    path = f"__import__('pathlib').Path({str(count)!r})"
    line = f"[{path}.write_text({path}.read_text() + 'x') and 0, 1]"
    given = asked(f"COLOUR, {line}")
    FunctionSource().describe(given)
    read(given)
    assert count.read_text() == "x"
    read(asked(f"COLOUR, {line}  # changed"))
    assert count.read_text() == "xx"


@pytest.mark.parametrize(("what", "given"), [
    ("parts", "GREY"),
    ("parts", "GREY, [0, 1, 0, 1], None, 1"),
    ("parts", "{'train': (GREY, [0, 1, 0, 1]), 'test': GREY}"),
    ("labels", "COLOUR, [0, 1, 0]"),
    ("labels", "{'train': (COLOUR, [0, 1]), 'test': (GREY, [0, 1])}"),
    ("images", "COLOUR / 255, [0, 1]"),
    ("images", "COLOUR[0, 0], [0, 1]"),
    ("images", "COLOUR.transpose(0, 3, 1, 2), [0, 1]"),
    ("images", "[COLOUR[0], COLOUR[1]], [0, 1]"),
    ("images", "'1.png', [0]"),
    ("images", "5, [0]"),
    ("labels", "COLOUR, [0.0, 1.0]"),
    ("labels", "COLOUR, [0, 2**40]"),
    ("labels", "COLOUR, [['a'], ['a', 'b']]"),
    ("labels", "COLOUR, ['a', None]"),
    ("labels", "COLOUR, [-1, 0]"),
    ("labels", "COLOUR, [0, 2], ['a', 'b']"),
    ("labels", "COLOUR, ['a', 'c'], ['a', 'b']"),
    ("classes", "COLOUR, [0, 1], ['a', 'a']"),
    ("classes", "COLOUR, [0, 1], 'ab'"),
    ("labels", "COLOUR, [[0, 2], [1, 0]]"),
    ("labels", "COLOUR, [[0, 1], [1, 0]], ['a']"),
    ("labels", "{'train': (COLOUR, [0, 1]), 'test': (COLOUR, ['a', 'b'])}"),
    ("labels", "{'train': (COLOUR, [[0, 1]] * 2), 'test': (COLOUR, [[1]] * 2)}"),
])  # fmt: skip
def test_functions_that_give_no_dataset(asked, what, given):
    with refused("dataset.function_result", what=what) as error:
        read(asked(given))
    assert "data.py" in str(error.value)


@pytest.mark.parametrize(("given", "code", "values"), [
    ("{'train': (COLOUR, [0, 1])}", "dataset.split_missing", {"found": ["train"]}),
    ("{'train': (COLOUR, [0, 1]), 'extra': (COLOUR, [0, 1])}", "dataset.split_unknown",
     {"found": ("extra",)}),
    ("['no.png', 'none.png'], [0, 1]", "dataset.images_missing", {"found": 2}),
    ("GREY, ['a', '', 'b', 'a']", "dataset.cell_empty", {}),
    ("GREY, ['a', ' ', 'b', 'a']", "dataset.cell_empty", {}),
    ("GREY, ['1', '1.0', '2', '2']", "dataset.labels_alike", {}),
    ("1 / 0", "function.failed", {"kind": "ZeroDivisionError"}),
])  # fmt: skip
def test_datasets_that_are_not_sound(asked, given, code, values):
    with refused(code, **values):
        read(asked(given))


def test_functions_that_there_are_not(asked, tmp_path):
    given = asked("GREY, [0, 1, 0, 1]")
    with refused("name.unknown", name="loads", near=["load"]):
        read(DatasetName.parse(f"{given.stem}s"))
    gone = DatasetName.parse(f"{tmp_path}/none.py:load")
    with refused("function.file_missing"):
        read(gone)
    presence = FunctionSource().presence(gone, tmp_path)
    assert not presence.present
    assert "there is no file" in presence.place
    assert FunctionSource().presence(given, tmp_path) == (True, f"{tmp_path}/data.py")


def test_what_is_known_of_it(asked, tmp_path, monkeypatch):
    given = asked("GREY, [0, 1, 0, 1]")
    assert FunctionSource().describe(given).title == "data.py:load"
    assert FunctionSource().recognises(given.stem)
    assert not FunctionSource().recognises(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert FunctionSource().location("data.py:load") == given.stem


AGAIN = """
import numpy as np
from pathlib import Path

def load():
    calls = Path(__file__).with_name("calls")
    n = int(calls.read_text()) + 1 if calls.exists() else 1
    calls.write_text(str(n))
    return np.full((12, 2, 2), n, np.uint8), [0, 1] * 6
"""


def test_a_function_is_asked_again_whenever_its_dataset_is_named(tmp_path, own_cache):
    """What it reads may have changed; within one command it is called once."""
    (tmp_path / "data.py").write_text(AGAIN)
    name = f"{tmp_path}/data.py:load"
    revisions = {
        datasets.find(name, cache=own_cache).revision,
        datasets.verify(name, own_cache, ProgressReporter()).loaded.manifest.revision,
        datasets.prepare_dataset(name, own_cache, ProgressReporter())[0].loaded.manifest.revision,
    }
    assert len(revisions) == int((tmp_path / "calls").read_text()) == 3


@pytest.mark.parametrize("file", ["data.py", "a?b.py"])
def test_a_study_file_runs_no_function_unless_trusted(file, tmp_path):
    """A question mark in its name hides none."""
    from headstart import Study

    proof = tmp_path / "executed"
    (tmp_path / file).write_text(f"open({str(proof)!r}, 'w')\n")
    names = ("digits", f"{tmp_path}/{file}:load", f"{tmp_path}/{file}:load?split_seed=1")
    study = tmp_path / "study.toml"
    study.write_text(f"models = ['efficientnet_lite0']\ndatasets = {list(names)}\n")
    with refused("study.untrusted"):
        Study.from_toml(study)
    assert Study.from_toml(study, trust=True).datasets == names
    assert not proof.exists()
