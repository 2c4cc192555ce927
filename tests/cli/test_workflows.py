"""Lists, ranges and duplicates on the command line; shipped studies with changes; moved stores."""

import shutil

import pytest

import headstart as hs
from conftest import write_folder
from headstart import analyze, datasets
from headstart.cli.run_command import integers
from headstart.datasets.archives import READERS
from headstart.errors import CommandError
from headstart.store import ResultStore
from headstart.study import Study
from refusals import ended
from stores import add_result

SMALL = "small:vgg6_w8?weights=random"
EACH = {"--models": SMALL, "--datasets": "digits", "--limit": "60"}


def run(cli, *more, **changed):
    """Run a small study with other options."""
    options = EACH | {f"--{name}": value for name, value in changed.items()}
    return cli("run", *[part for pair in options.items() if pair[1] for part in pair], *more)


@pytest.mark.parametrize(("text", "numbers"), [
    ("0", [0]), ("0,1,2", [0, 1, 2]), ("0-4", [0, 1, 2, 3, 4]), ("0..4", [0, 1, 2, 3, 4]),
    ("0...2", [0, 1, 2]), ("0 - 2", [0, 1, 2]), ("0\u20132", [0, 1, 2]), ("3-3", [3]),
    ("7,0-2, 9..10,", [7, 0, 1, 2, 9, 10]), ("1_000", [1000]), ("+5", [5]),
])  # fmt: skip
def test_integers_and_ranges(text, numbers):
    assert integers("seeds", text, 0, 2**32 - 1) == numbers


@pytest.mark.parametrize(
    "text",
    ["", ",", "a", "1e3", "0x10", "-1", "--1", "0--4", "4-0", "0-4-8", "0-", "-4", "..", "1:3",
     "0;1", "\u0661", "1.5", "0-1e9", "0-99999999999", "4294967296", "0 1", "1,,a"],
)  # fmt: skip
def test_what_is_no_list_of_integers(text):
    with pytest.raises(CommandError) as caught:
        integers("seeds", text, 0, 2**32 - 1)
    assert caught.value.code == "command.value"
    assert caught.value.values["name"] == "seeds"


def test_a_range_of_seeds_is_measured(cli, tmp_path):
    outcome = run(cli, "--store", tmp_path / "r.db", seeds="0-2,1")
    assert outcome.code == 0, outcome.err
    assert "seed 1 is named 2 times: measured once" in outcome.out
    assert hs.results(tmp_path / "r.db")["seed"].tolist() == [0, 1, 2]


# Each names something twice, and what is said of it.
TWICE = [
    ({"models": f"{SMALL},{SMALL}"}, f"model {SMALL} is named"),
    ({"models": f"{SMALL},{SMALL}&seed=0"}, f"model {SMALL}&seed=0 is the same as {SMALL}"),
    ({"models": f"{SMALL},{SMALL}&size=32"}, f"model {SMALL}&size=32 is the same as {SMALL}"),
    ({"datasets": "digits,digits"}, "dataset digits is named 2 times"),
    ({"settings": "linear,linear"}, "setting linear is named"),
    ({"settings": "linear,linear:kornblith2019"}, "is the same as linear"),
    ({"seeds": "0,0"}, "seed 0 is named 2 times"),
]


@pytest.mark.parametrize(("changed", "said"), TWICE)
@pytest.mark.parametrize("dry", [True, False])
def test_what_is_named_twice_counts_once(cli, tmp_path, changed, said, dry):
    outcome = run(cli, "--store", tmp_path / "r.db", *["--dry-run"] * dry, **changed)
    assert outcome.code == 0, outcome.err
    assert " ".join(outcome.out.split()).count(said) == 1
    assert ("1 trial: 0 stored, 1 can" if dry else "1 measured, 0 already") in outcome.out


def test_two_folders_with_the_same_images_are_one_dataset(cli, photos, tmp_path):
    shutil.copytree(photos, tmp_path / "copy")
    options = ("--store", tmp_path / "r.db", "--dry-run")
    both = f"{photos},{tmp_path}/copy"
    outcome = cli("run", "--models", SMALL, "--datasets", both, *options)
    assert f"dataset {tmp_path}/copy is the same as {photos}" in outcome.out
    assert "1 trial: " in outcome.out


def test_a_shipped_study_with_other_models_and_datasets(cli, tmp_path):
    given = ("--models", SMALL, "--datasets", "digits", "--seeds", "0,3", "--limit", "60")
    printed = cli("run", "kornblith2019-linear", *given, "--print-study")
    assert printed.code == 0, printed.err
    (tmp_path / "study.toml").write_text(printed.out)
    study = Study.from_toml(tmp_path / "study.toml")
    assert study == Study(models=[SMALL], datasets=["digits"], seeds=[0, 3], limit=60)
    for name in ("models", "datasets", "seeds", "limit"):
        assert f"# kornblith2019-linear: {name} from the command line: " in printed.out
    outcome = cli("run", "kornblith2019-linear", *given, "--dry-run", "--store", tmp_path / "r.db")
    assert f"kornblith2019-linear: models from the command line: {SMALL}\n" in outcome.out
    assert "2 trials: 0 stored, 2 can be measured now" in outcome.out


@pytest.mark.parametrize("option", ["--settings", "--precision", "--skip-broken"])
def test_other_keys_of_a_study_file_are_replaced(cli, option):
    value = {"--settings": ["linear:simclr2020"], "--precision": ["bf16"], "--skip-broken": []}
    printed = cli("run", "kornblith2019", option, *value[option], "--print-study").out
    text = {"--settings": '"linear:simclr2020"', "--precision": "bf16", "--skip-broken": "= true"}
    assert text[option] in printed.partition("\nmodels")[2]


def test_the_name_of_a_shipped_study_stands_for_its_models_and_datasets(cli):
    study = Study(models=["kornblith2019"], datasets=["digits", "kornblith2019", "dtd"])
    assert len(study.models) == 16
    assert study.datasets[:2] == ("digits", "food101")
    assert set(study.datasets) == {"digits", *READERS}
    printed = cli("run", "--models", SMALL, "--datasets", "kornblith2019,digits", "--print-study")
    assert printed.out.count('"') == 2 * (1 + 12 + 1 + 1) + 2


def test_seeds_draw_the_splits_of_a_folder(cli, tmp_path):
    """As often as seeds are given, under one name; seed 0 is what is drawn without."""
    counts = {"": {"dark": 40, "light": 40}}
    folder = write_folder(tmp_path / "photos", counts)
    name = f"{folder}?split_seed=seed"
    store = tmp_path / "r.db"
    options = ("--store", store, "--seeds", "0,1")
    plain = cli("run", "--models", SMALL, "--datasets", folder, *options)
    ended(plain, "study.seeds_unused")
    dry = cli("run", "--models", SMALL, "--datasets", name, *options, "--dry-run")
    assert (dry.code, dry.err) == (0, "")
    assert "2 trials: 0 stored, 2 can be measured now" in dry.out
    outcome = cli("run", "--models", SMALL, "--datasets", name, *options)
    assert outcome.code == 0, outcome.err
    assert f"{name}: seeds 0, 1 draw its splits" in " ".join(outcome.out.split()).replace("- ", "-")
    first, second = ResultStore(store).results()
    assert first.trial.dataset.name == second.trial.dataset.name
    assert first.trial.dataset.revision != second.trial.dataset.revision
    assert first.trial.dataset.revision == datasets.find(str(folder)).revision
    # The same trial as without: what ran before is not run again.
    (usual,) = Study(models=[SMALL], datasets=[str(folder)]).trials()
    assert first.trial.key == usual.key
    # One dataset with two seeds, and not two datasets.
    cells = analyze(store, resamples=100).cells
    assert (len(cells), cells["n_seeds"].tolist()) == (1, [2])


def test_a_folder_with_splits_of_its_own_has_none_to_draw(cli, photos):
    name = f"{photos}?split_seed=seed"
    outcome = cli("run", "--models", SMALL, "--datasets", name, "--seeds", "1,2")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)


@pytest.fixture
def moved(tmp_path):
    """A store of two models on one dataset, copied without the folder beside it."""
    store = ResultStore(tmp_path / "r.db", create=True)
    for number in range(2):
        add_result(store, f"model{number}", 0.5 + number / 10)
    shutil.copy(store.path, tmp_path / "alone.db")
    return tmp_path / "alone.db"


def test_a_store_without_its_predictions_gives_what_does_not_need_them(cli, moved, tmp_path):
    for arguments in (
        ("results", "--store", moved),
        ("results", "--csv", "--store", moved),
        ("results", "show", "--store", moved),
        ("analyze", moved, "--resamples", "100"),
        ("report", moved, "--out", tmp_path / "page.html", "--resamples", "100"),
    ):
        outcome = cli(*arguments)
        assert (outcome.code, outcome.err) == (0, "")
    whole, lacking = (analyze(path, resamples=100) for path in (tmp_path / "r.db", moved))
    assert (whole.cells["accuracy"] == lacking.cells["accuracy"]).all()
    per_dataset = [one.pairwise["dataset"].ne("all").sum() for one in (whole, lacking)]
    assert per_dataset[0] > 0
    assert per_dataset[1] == 0
    (what,) = [what for what in lacking.missing["what"] if "2 of 2 results" in what]
    assert str(moved) in what
    assert "alone.db.predictions" in cli("analyze", moved, "--resamples", "100").out


def test_of_a_store_with_some_predictions_those_are_used(moved, tmp_path):
    store = ResultStore(tmp_path / "r.db")
    kept, lost = sorted(store.keys())
    (file,) = (tmp_path / "r.db.predictions").glob(f"{lost}*")
    file.unlink()
    assert store.with_predictions() == {kept}
    missing = analyze(store.path, resamples=100).missing["what"]
    assert any("1 of 2 results" in what for what in missing)


def test_a_symlink_to_a_store_is_the_store(moved, tmp_path):
    (tmp_path / "link.db").symlink_to(tmp_path / "r.db")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "headstart.db").symlink_to(tmp_path / "r.db")
    store = ResultStore(tmp_path / "link.db", create=True)
    assert store.path == tmp_path / "r.db"
    assert ResultStore(tmp_path / "folder").path == store.path
    assert len(store.with_predictions()) == 2
    add_result(store, "third", 0.4)
    assert not (tmp_path / "link.db.predictions").exists()
    assert len(ResultStore(tmp_path / "r.db").with_predictions()) == 3


def test_a_training_that_learned_nothing_is_told(cli, tmp_path, own_cache):
    setting = '{name = "scratch", protocol = "quick", steps = 2, learning_rates = [1e-9]}'
    study = f"models = ['{SMALL}']\ndatasets = ['digits']\nlimit = 60\nsettings = [{setting}]\n"
    (tmp_path / "study.toml").write_text(study)
    outcome = cli("run", tmp_path / "study.toml", "--store", tmp_path / "r.db")
    assert outcome.code == 0, outcome.err
    (result,) = ResultStore(tmp_path / "r.db").results()
    said = result.provenance["at_chance"]
    assert (said["chance"], said["n"]) == (0.1, 60)
    assert said["accuracy"] == result.accuracy
    text = " ".join(outcome.out.split())
    assert (
        f"top-1 {100 * result.accuracy:.2f} % is not significantly above chance (10.00 %, n = 60"
        in text
    )
    options = ("--learning-rate", "1e-9", "--batch-size", "8", "--name", "nothing")
    pretrained = cli("pretrain", "--arch", SMALL, "--dataset", "digits", "--steps", "1", *options)
    assert pretrained.code == 0, pretrained.err
    text = " ".join(pretrained.out.split())
    assert "warning: nothing: top-1" in text
    assert "n = 359" in text
