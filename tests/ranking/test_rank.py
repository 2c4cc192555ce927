"""`rank` from a dataset to an answer, by tiny networks; and its page."""

import html
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import headstart as hs
import small_network
from conftest import write_folder
from headstart import datasets
from headstart.artifacts import ArtifactFolder
from headstart.cli.rank_command import COUNTS, LATENCY, SECONDS, quantity
from headstart.context import ProgressReporter, RunContext
from headstart.deploy.card import model_card
from headstart.deploy.final_network import final_network
from headstart.ranking import cross_validation, rank_backbones
from headstart.ranking.answer import Cost, RankAnswer, choose, recommendation_sentence
from headstart.ranking.cross_validation import LAMBDAS
from headstart.ranking.race import Race
from headstart.report.rank_page import rank_html
from headstart.shown_text import CONTROLS
from headstart.store import ResultStore
from ranking.answers import ranked_model
from refusals import ended, refused

NETWORK = f"{Path(small_network.__file__)}:build?mean=0.5,0.5,0.5&std=0.25,0.25,0.25"
MODELS = f"{NETWORK}&size=8&name=small,{NETWORK}&size=16&name=large"


class Watching(ProgressReporter):
    """Keeps what is measured; may press Ctrl-C before the n-th step."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.titles, self.notes, self.interrupt_at = [], [], interrupt_at

    def trial_started(self, title, number, total):
        if len(self.titles) == self.interrupt_at:
            raise KeyboardInterrupt
        self.titles.append(title)
        return self

    def note(self, message):
        self.notes.append(message)


def ranked(tmp_path, reporter=None, **options) -> RankAnswer:
    options = {"models": MODELS, "limit": 200, "budget": 600.0, "device": "cpu", **options}
    return hs.rank(
        "digits", store=tmp_path / "r.db", keep_models=tmp_path / "kept", reporter=reporter,
        **options,
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    """Time networks shortly, choose among few lambdas: nothing here depends on how well."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("cross_validation", "contest"):
            patch.setattr(f"headstart.ranking.{name}.LAMBDAS", LAMBDAS[2:8:2])
        for name in ("SECONDS", "AGAIN_SECONDS"):
            patch.setattr(f"headstart.ranking.cost.{name}", 0.01)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where a race leaves its store, its network and its cache."""
    return tmp_path_factory.mktemp("race")


@pytest.fixture(scope="module")
def answer(folder) -> RankAnswer:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADSTART_CACHE", str(folder / "cache"))
        return ranked(folder)


def test_the_answer_names_a_model_and_all_that_it_rests_on(answer):
    assert {model.name for model in answer.models} == {"small", "large"}
    assert (answer.images, answer.test_images, answer.complete) == (400, 200, True)
    assert answer.recommended in answer.sentence
    assert answer.winner.tied
    for model in answer.models:
        assert 0 < model.low < model.accuracy < model.high < 1
        assert model.difference_low <= 0 <= model.difference_high
        assert model.cost.latency <= model.cost.latency_95
    assert any(model.pareto for model in answer.models)


def test_the_winner_is_an_ordinary_trial_whose_network_is_kept(folder, answer):
    store = ResultStore(folder / "r.db")
    (result,) = store.results()
    test = answer.held_out
    assert result.trial.key == test.key
    assert (result.trial.model.name, result.trial.setting.name) == (answer.recommended, "linear")
    assert result.metrics["top-1"] == test.accuracy
    assert (Path(test.folder) / "model.safetensors").exists()
    assert sum(one.n for one in test.classes) == test.n == 200
    right = sum(round(one.n * one.accuracy) for one in test.classes)
    assert right / test.n == pytest.approx(test.accuracy)
    wrong = sum(one.n for one in test.confusions)
    assert 0 < wrong <= test.n - right
    assert all(one.pictures for one in test.confusions)
    assert "data:image" in rank_html(answer)


def test_an_interrupted_race_goes_on_and_gives_the_same(tmp_path, own_cache, answer):
    first = Watching(interrupt_at=2)
    with pytest.raises(KeyboardInterrupt):
        ranked(tmp_path, first)
    second = Watching()
    again = ranked(tmp_path, second)
    # The last title is that of the winner's trial.
    steps = [*first.titles, *second.titles[:-1]]
    assert len(steps) == len(set(steps)) >= 4
    assert [(m.name, m.accuracy, m.images) for m in again.models] == [
        (m.name, m.accuracy, m.images) for m in answer.models
    ]


def test_a_second_run_measures_nothing(folder, answer, monkeypatch):
    reporter = Watching()
    monkeypatch.setenv("HEADSTART_CACHE", str(folder / "cache"))
    again = ranked(folder, reporter)
    assert reporter.titles == []
    assert again.models == answer.models
    assert again.held_out == answer.held_out


def test_latency_is_timed_again_on_later_levels_and_the_lowest_counts(
    tmp_path, own_cache, monkeypatch
):
    """What is excluded for its latency was timed as often as it could be by then."""
    levels = dict[str, list[float]]()

    def measured(model, *_):
        levels[model.name] = [1.0]
        return Cost(1.0, 2.0, 500.0, 10**6, "torch")

    def again(cost, runtime, side):
        levels["small" if side == 8 else "large"].append(cost.latency)
        return replace(cost, latency=cost.latency / 2)

    monkeypatch.setattr(cross_validation, "measure_cost", measured)
    monkeypatch.setattr(cross_validation, "timed_again", again)
    found = ranked(tmp_path)
    deepest = max(found.models, key=lambda one: one.images)
    assert deepest.images == 400
    # Once per level behind the first one: of 30 to 400 images there are four.
    assert levels[deepest.name] == [1.0, 1.0, 0.5, 0.25]
    assert deepest.cost.latency == 1 / 8
    for limit in (2.0, 1 / 8):
        # The earlier run knows that it is fast enough, though the first time it was not.
        assert ranked(tmp_path, max_latency=limit).models[0].name == deepest.name
    with refused("ranking.constraints", max_latency=1e-3):
        ranked(tmp_path, max_latency=1e-3)


def test_the_choice_is_known_before_the_test(tmp_path, own_cache, monkeypatch):
    """Where no time is left for all lambdas, few are tried by the test, and it says so."""
    seen, reporter = [], Watching()
    monkeypatch.setattr(Race, "final", lambda *_, **__: 1e9)
    monkeypatch.setattr(Race, "reserve", lambda *_, **__: 0.0)
    found = ranked(
        tmp_path, reporter, raced=lambda early: seen.append((early, len(reporter.titles)))
    )
    ((early, n_steps),) = seen
    assert (early.sentence, early.models, early.held_out) == (found.sentence, found.models, None)
    assert len(reporter.titles) == n_steps + 1  # that of the trial
    (result,) = ResultStore(tmp_path / "r.db").results()
    assert 3 <= len(result.trial.setting.lambdas) <= 5
    assert result.trial.key == found.held_out.key
    assert found.notes[0] in reporter.notes


@pytest.mark.slow
def test_workers_give_the_same_numbers(tmp_path, monkeypatch):
    # Workers do not know what is patched here.
    for name in ("cross_validation", "contest"):
        monkeypatch.setattr(f"headstart.ranking.{name}.LAMBDAS", LAMBDAS)
    found = []
    for workers in (1, 2):
        monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / f"cache{workers}"))
        models = ranked(tmp_path / str(workers), workers=workers).models
        found.append({model.name: model.accuracy for model in models})
    assert len(found[0]) == 2
    assert found[0] == found[1]


def test_fine_tuning_is_judged_by_an_interval(tmp_path, own_cache, monkeypatch):
    from headstart import methods

    find = methods.find

    def short(name, **options):
        if name == "finetune":
            options = {"protocol": "quick", "steps": 5, "batch_size": 20, "learning_rates": (0.01,)}
            options |= {"decays": (0.0,)}
        return find(name, **options)

    monkeypatch.setattr(rank_backbones.methods, "find", short)
    found = ranked(tmp_path, finetune_top=9)
    (note,) = found.notes
    assert f"--finetune-top 9: {len(found.tied)} model" in note
    one, *others = found.finetuned
    assert len(others) == len(found.tied) - 1
    assert one.name in {model.name for model in found.tied}
    assert one.difference == pytest.approx(one.accuracy - one.linear)
    assert one.low <= one.difference <= one.high
    # What was trained is there to be deployed, as the answer says.
    assert one.deploy.startswith(f"headstart export {one.key[:12]} ")
    kept = {folder.name for folder in (tmp_path / "kept").iterdir()}
    assert {each.key[:12] for each in found.finetuned} < kept


@pytest.mark.parametrize(("options", "code", "values"), [
    ({"budget": 1e-3}, "ranking.budget_short", {"budget": 1e-3}),
    ({"max_params": 10.0}, "ranking.constraints", {"max_params": 10.0}),
    ({"max_latency": 1e-9}, "ranking.constraints", {"max_latency": 1e-9}),
    ({"models": "timm:resnet18.a1_in1k"}, "ranking.no_candidate", {"named": 1}),
], ids=lambda value: value if isinstance(value, str) else "")  # fmt: skip
def test_bad_input(tmp_path, own_cache, options, code, values):
    with refused(code, **values):
        ranked(tmp_path, **options)


def broken_folder(place: Path, counts: dict[str, int], broken: int) -> Path:
    """Write a folder of images, of each class of which the first ones do not decode."""
    folder = write_folder(place, {"all": counts}) / "all"
    for name, n in counts.items():
        for i in range(min(broken, n)):
            (folder / name / f"{i}.png").write_bytes(b"broken")
    return folder


@pytest.mark.parametrize(("counts", "broken", "skip_broken", "code", "values"), [
    ({"dark": 20}, 0, False, "dataset.one_class", {}),
    ({"dark": 1, "light": 1}, 0, False, "ranking.class_small", {}),
    ({"dark": 2, "light": 2}, 0, False, "ranking.class_small", {}),
    ({"dark": 8, "light": 8}, 8, False, "ranking.all_broken", {"dataset": "all"}),
    ({"dark": 8, "light": 8}, 8, True, "ranking.all_broken", {"dataset": "all"}),
])  # fmt: skip
def test_images_that_nothing_can_be_chosen_by_are_refused(
    tmp_path, counts, broken, skip_broken, code, values
):
    folder = broken_folder(tmp_path / "photos", counts, broken)
    with refused(code, **values):
        hs.rank(
            str(folder), models=MODELS, store=tmp_path / "new" / "r.db", skip_broken=skip_broken
        )
    # What is refused leaves no folder for a store.
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("harm", ["broken symlink", "empty", "cut off"])
def test_an_image_that_cannot_be_used_is_refused_before_the_race(tmp_path, own_cache, harm):
    """Also one of the test part, which no model is measured on."""
    folder = write_folder(tmp_path / "photos", {"all": {"dark": 20, "light": 20}}) / "all"
    found = datasets.find(str(folder))
    test = datasets.load(found, 0, own_cache).test
    file = Path(test.images.where(0))
    content = file.read_bytes()
    file.unlink()
    if harm == "broken symlink":
        file.symlink_to(tmp_path / "nowhere.png")
    else:
        file.write_bytes(b"" if harm == "empty" else content[: len(content) // 2])
    reporter = Watching()
    with refused("dataset.images_broken", found=1):
        hs.rank(str(folder), models=MODELS, store=tmp_path / "r.db", reporter=reporter)
    assert reporter.titles == []


def test_the_command_writes_its_answer_and_broken_images_in_each_form(cli, tmp_path, own_cache):
    folder = broken_folder(tmp_path / "photos", {"dark": 40, "light": 40}, 12)
    common = ["rank", folder, "--models", MODELS, "--budget", "10m", "--store", tmp_path / "r.db",
              "--device", "cpu", "--skip-broken"]  # fmt: skip
    page = tmp_path / "rank.html"
    shown = cli(*common, "--out", page).out
    record = json.loads(cli(*common, "--json").out)
    test = record["held_out"]
    assert test["left_out"] > 0
    assert test["n"] + test["left_out"] == record["test_images"]
    assert record["sentence"] in " ".join(shown.split())
    assert "data:image" not in json.dumps(record)
    counted = f"{24 - test['left_out']} of the 64 images"
    assert counted in record["notes"][0]
    for text in (shown, page.read_text()):
        assert counted in text
        assert f"{test['left_out']} " in text.partition("Left out")[2][:40]
    header, *rows = [line.split(",") for line in cli(*common, "--csv").out.splitlines()]
    assert header[:5] == ["name", "accuracy", "low", "high", "images"]
    assert len(rows) == 2
    (of_winner,) = [row for row in rows if row[0] == record["recommended"]]
    assert int(float(of_winner[header.index("test_left_out")])) == test["left_out"]


def test_what_of_the_images_bears_on_the_answer_is_noted_in_all_that_is_written(
    cli, tmp_path, own_cache
):
    """An image in train and test; one in two classes, of which a fold may learn the other.

    Train and validation are one here: an image in both is a copy, too, and no leakage.
    """
    each, other = {"dark": 12, "light": 12, "rare": 4}, {"dark": 5, "light": 5}
    photos = write_folder(tmp_path / "photos", {"train": each, "val": other, "test": other})
    shutil.copy(photos / "train/dark/2.png", photos / "val/dark/9.png")
    shutil.copy(photos / "train/dark/0.png", photos / "test/dark/9.png")
    shutil.copy(photos / "train/dark/1.png", photos / "train/light/99.png")
    page = tmp_path / "rank.html"
    common = ["rank", photos, "--models", MODELS, "--budget", "10m", "--store", tmp_path / "r.db",
              "--device", "cpu"]  # fmt: skip
    shown = " ".join(cli(*common, "--out", page).out.split())
    notes = json.loads(cli(*common, "--json").out)["notes"]
    parts = [
        "fewer images outside the test part",
        "1 image is in two splits (leakage)",
        "1 of 3 classes has no test image: 'rare'",
        "2 images of those that models are chosen on are copies of others",
    ]
    for part in parts:
        (note,) = [note for note in notes if part in note]
        assert f"Note: {note[:60]}" in shown
        assert part[5:] in html.unescape(page.read_text())


def test_the_card_of_what_is_made_of_it_says_how_it_was_chosen(folder, answer):
    (result,) = ResultStore(folder / "r.db").results()
    kept, record = ArtifactFolder(folder / "kept"), Path(answer.held_out.folder) / "choice.json"
    content = record.read_bytes()
    final = final_network(result, RunContext(device="cpu"), kept)
    assert final.choice == json.loads(content)
    others = [model.name for model in answer.tied if model.name != answer.recommended]
    assert (final.choice["models"], final.choice["tied"]) == (2, others)
    text = model_card(result, final, "torch", [], "named")
    said = f"among 2 models by 2 times 5-fold cross-validation on {answer.winner.images} images"
    assert said in text
    assert all(name in text for name in others)
    assert said in record.with_name("README.md").read_text()
    for harm in (b"no JSON", b'{"trial": "another"}'):
        record.write_bytes(harm)
        found = final_network(result, RunContext(device="cpu"), kept)
        assert found.choice is None
    record.write_bytes(content)


HOSTILE = "a\x1b[2J\nb\u202e <i>"


def test_names_of_strangers_do_nothing(cli, tmp_path, own_cache):
    """Of a folder, of classes, of files: each is one line, and no command of a terminal."""
    folder = write_folder(tmp_path / "x", {HOSTILE: {HOSTILE: 20, "=1+1": 20}})
    folder = folder / HOSTILE
    for file in list(folder.glob("*/*.png")):
        file.rename(file.with_name(f"=2\n\x9b{file.name}"))
    small, store = f"{NETWORK}&size=8&name=small", tmp_path / "r.db"
    ranked = cli("rank", folder, "--models", small, "--store", store, "--device", "cpu", "--out",
                 tmp_path / "rank.html")  # fmt: skip
    shown = cli("results", "show", "small", "--store", store)
    (result,) = ResultStore(store).results()
    broken = folder / "broken\n\x1b[2J.png"
    broken.write_bytes(b"")
    predict = ["predict", result.trial.key, folder, "--store", store, "--device", "cpu"]
    texts = [ranked, shown, cli(*predict), cli(*predict, "--csv")]
    # One image that `predict` cannot decode.
    assert [one.code for one in texts] == [0, 0, 2, 2]
    for one in texts:
        assert not CONTROLS.search(one.out)
    # No line begins with what follows a line break in a name.
    lines = [line for one in texts[:3] for line in one.out.splitlines()]
    assert not [line for line in lines if line.startswith((r"b\u202e", r"\u009b"))]
    records = json.loads(cli(*predict, "--json").out)
    assert {one["class"] for record in records[:-1] for one in record["predictions"]} == {
        HOSTILE, "=1+1"
    }  # fmt: skip
    assert "'=1+1" in texts[-1].out
    final = final_network(result, RunContext(device="cpu"), None)
    text = model_card(result, final, "torch", [], "named")
    assert r"a\\x1b\[2J\\nb\\u202e \<i\>" in text.split("---")[2]


def test_the_test_images_are_seen_by_the_winner_alone(folder, answer):
    """Features of test images are in the table of one network: that of the trial."""
    digits, cache = datasets.find("digits", limit=200), folder / "cache"
    test = datasets.load(digits, 0, cache).places[-200:]
    with_test = []
    for card in (cache / "features").glob("*.json"):
        rows = np.concatenate([np.arange(*run) for run in json.loads(card.read_text())["rows"]])
        with_test.append(bool(np.isin(test, rows).any()))
    assert sorted(with_test) == [False, True]
    assert answer.held_out.n == len(test)


def test_wrong_options_are_refused_before_the_images_are_read(tmp_path, own_cache):
    for name, value in [("budget", -1.0), ("budget", "x"), ("budget", float("nan")), ("limit", 0),
                        ("max_params", 0), ("max_latency", -1), ("tolerance", 1.0), ("seed", -1),
                        ("finetune_top", -1), ("finetune_top", 1.5), ("skip_broken", "x"),
                        ("precision", "fp8"), ("models", 5)]:  # fmt: skip
        with refused("ranking.option_invalid", name=name):
            hs.rank("absent", store=tmp_path / "r.db", **{name: value})
    for options, code in [
        ({"buget": 60}, "name.unknown"),
        ({"finetune": "absent"}, "name.unknown"),
        ({"models": "zzz*"}, "model.none_found"),
        ({"store": "/proc/x.db"}, "storage.unusable"),
    ]:
        with refused(code) as error:
            hs.rank("nowhere", **{"store": tmp_path / "r.db", "models": MODELS, **options})
        assert "nowhere" not in str(error.value)
    assert not (tmp_path / "r.db").exists()


@pytest.mark.parametrize(("arguments", "code", "values"), [
    ("--budget soon", "command.value", {"name": "budget"}),
    ("--budget 0m", "command.value", {"name": "budget"}),
    ("--max-latency 20MB", "command.value", {"name": "max-latency"}),
    ("--budget 1ms", "command.value", {"name": "budget"}),
    ("--budget -5m", "command.value", {"value": "-5m"}),
    ("--budget 1h30", "command.value", {"value": "1h30"}),
    ("--budget 90", "command.value", {"value": "90"}),
    ("--max-latency 20", "command.value", {"value": "20"}),
    ("--budget 1.5.5m", "command.value", {"name": "budget"}),
    ("--budget 1e999s", "command.value", {"name": "budget"}),
    ("--max-params 1M500K", "command.value", {"name": "max-params"}),
    ("--max-params 0", "command.value", {"name": "max-params"}),
    ("--limit 0", "command.value", {"name": "--limit", "expected": "1 or more"}),
    ("--limit -3", "command.value", {"name": "--limit"}),
    ("--seed -1", "command.value", {"name": "--seed"}),
    ("--finetune-top -1", "command.value", {"name": "--finetune-top"}),
    ("--finetune absent", "name.unknown", {"name": "absent"}),
    ("--json --csv", "command.conflict", {"option": "--csv"}),
    ("--out {folder}", "report.suffix", {"suffix": ""}),
    ("--out x.pdf", "report.suffix", {"known": [".html", ".htm"]}),
    ("--out x.csv", "report.suffix", {"suffix": ".csv"}),
    ("--out {folder}/there.html", "storage.no_file_name", {}),
    ("--keep-models /proc/models", "storage.unusable", {}),
])  # fmt: skip
def test_a_wrong_command_is_refused_before_the_images_are_read(
    cli, tmp_path, arguments, code, values
):
    (tmp_path / "there.html").mkdir()
    words = arguments.format(folder=tmp_path).split()
    outcome = cli("rank", "nowhere", "--models", MODELS, "--store", tmp_path / "r.db", *words)
    ended(outcome, code, **values)
    assert not (tmp_path / "r.db").exists()


@pytest.mark.parametrize(
    ("text", "units", "expected"),
    [
        ("90s", SECONDS, 90), ("1h30m", SECONDS, 5400),
        (" 1 H 30 min 10s", SECONDS, 5410), ("1.5h", SECONDS, 5400), (".5h", SECONDS, 1800),
        ("5 ms", LATENCY, 0.005), ("250us", LATENCY, 0.00025),
        ("5e6", COUNTS, 5e6), ("5M", COUNTS, 5e6), ("5m", COUNTS, 5e6), ("2.5B", COUNTS, 2.5e9),
    ],
)  # fmt: skip
def test_quantities_have_units(text, units, expected):
    assert quantity("x", text, units, "") == pytest.approx(expected)


def test_a_limit_over_all_splits_is_none(tmp_path, own_cache):
    reporter = Watching()
    photos = write_folder(tmp_path / "photos", {"all": {"dark": 20, "light": 20}}) / "all"
    found = hs.rank(
        str(photos), models=MODELS, store=tmp_path / "r.db", limit=5000, reporter=reporter,
        budget=600.0, device="cpu",
    )  # fmt: skip
    assert found.images + found.test_images == 40
    assert sum("--limit" in note for note in reporter.notes) == 1


BEST = ranked_model("best", 0.9, 0.02)
FAST = ranked_model("fast", 0.897, 0.01)
FAR = ranked_model("far", 0.88, 0.001)


@pytest.mark.parametrize(("models", "taken"), [
    ([BEST, FAST, FAR], "fast"),  # far is beyond half a point
    ([BEST, FAR], "best"),
    ([BEST, ranked_model("same", 0.9, 0.019)], "best"),  # saves less than a tenth
    ([BEST, ranked_model("fast", 0.899, 0.001, tied=False)], "best"),
    ([BEST, ranked_model("fast", 0.899, 0.001, images=200)], "best"),
], ids=["faster", "too far", "hardly faster", "worse", "fewer images"])  # fmt: skip
def test_the_fastest_of_those_as_good_is_taken(models, taken):
    assert choose(models, 0.005).name == taken


@pytest.mark.parametrize(("models", "part"), [
    ([BEST], "the only candidate that was measured"),
    (
        [BEST, ranked_model("x", 0.5, 0.01, tied=False)],
        "significantly more accurate than the other",
    ),
    ([BEST, FAR], "of 2; far is 20.0 times as fast (1.0 ms) and 2.0 points lower,"),
    ([BEST, ranked_model("slow", 0.88, 0.03)], "different, and it is not clearly faster"),
    (
        [BEST, FAR, ranked_model("few", 0.8, 0.001, images=100)],
        "the most accurate of the 2 measured on all 400 images",
    ),
    ([BEST, FAST], "the most accurate, best (90.0 %), and 2.0 times as fast (10.0 ms"),
])  # fmt: skip
def test_the_sentence_says_why(models, part):
    assert part in recommendation_sentence(models, choose(models, 0.005), 400)
