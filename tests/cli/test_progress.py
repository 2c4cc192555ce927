"""The search as it is drawn: the grid that fills, lines of candidates, the time left."""

import io
from itertools import product

import pytest
from rich.console import Console

from conftest import NETWORK
from headstart import datasets, methods, models
from headstart.cli.progress import LiveReporter, Sweep, candidate_line, drawn
from headstart.context import TrainingProgress
from headstart.spec import Candidate, Measurement, Trial

# A step is 10 images.
GRID = {"learning_rates": [0.01, 0.1, 1.0], "decays": [0.0, 1e-5], "steps": 40, "batch_size": 10}
HALVING = {**GRID, "search": "rungs", "rungs": [(6, 10), (2, 40)]}


def values(rate: float, decay: float, steps: int = 40) -> dict[str, float]:
    return {"learning_rate": rate, "weight_decay": decay, "steps": float(steps)}


def training(given: dict[str, float], step: int, part="candidate", rate=100.0) -> TrainingProgress:
    return TrainingProgress(part, given, step, int(given["steps"]), 1.5, 0.01, rate)


def measured(given: dict[str, float], reached: float | None, rate=100.0) -> Measurement:
    best = {} if reached is None else {"crop": "full", "accuracy": reached}
    worse = {} if reached is None else {"crop": "central", "accuracy": reached - 0.1}
    return Measurement(
        candidate=Candidate(values=given),
        examples="r",
        status="diverged" if reached is None else "complete",
        curve=({"accuracy": 0.0, **given, **best}, {"accuracy": 0.0, **given, **worse}),
        facts={
            "losses": [2.5, 0.123],
            "images_per_second": rate,
            "diverged_at": 7 if reached is None else None,
        },
    )


def text(sweep: Sweep, now: float = 0.0, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width, record=True)
    console.print(drawn(sweep, now))
    return console.export_text().splitlines()


def cells(lines: list[str]) -> dict[str, list[str]]:
    first = next(i for i, line in enumerate(lines) if "rate \\ decay" in line)
    return {line.split()[0]: line.split()[1:] for line in lines[first : first + 4]}


def test_a_cell_is_an_accuracy_a_loss_diverged_or_to_come():
    sweep = Sweep(methods.find("finetune", **GRID).grid, [measured(values(0.01, 0.0), 0.5)])
    sweep.measured(measured(values(0.01, 1e-5), 0.625))
    sweep.measured(measured(values(0.1, 0.0), None))
    sweep.trained(training(values(0.1, 1e-5), 12), now=3.0)
    lines = text(sweep, now=4.0)
    assert cells(lines) == {
        "rate": ["\\", "decay", "0", "1e-5"],
        "0.01": ["50.0%", "62.5%*"],
        "0.1": ["div", "1.50"],
        "1": ["·", "·"],
    }
    assert lines[0].strip().startswith("3 of 6 candidates, 1 diverged, 100 images/s, ")
    assert "rate 0.1, decay 1e-5  12/40 steps  loss 1.50  100 images/s" in "\n".join(lines)


def test_a_candidate_that_is_measured_is_trained_no_more():
    sweep = Sweep(methods.find("finetune", **GRID).grid, [])
    sweep.trained(training(values(0.1, 0.0), 40), now=1.0)
    sweep.measured(measured(values(0.1, 0.0), 0.5))
    lines = text(sweep)
    assert cells(lines)["0.1"] == ["50.0%*", "·"]
    assert "40/40 steps" not in "\n".join(lines)


def test_the_time_left_is_that_of_all_other_candidates_and_of_the_final_training():
    sweep = Sweep(methods.find("finetune", **GRID).grid, [measured(values(1.0, 1e-5), 0.5)])
    assert sweep.seconds_left(0.0) is None
    # Two beside each other, which goes on at step 21 what an earlier process began.
    sweep.trained(training(values(0.01, 0.0), 1), now=100.0)
    sweep.trained(training(values(0.1, 0.0), 21), now=100.0)
    sweep.trained(training(values(0.01, 0.0), 20), now=108.0)
    sweep.trained(training(values(0.1, 0.0), 40), now=110.0)
    # 40 steps in 10 s; 5 candidates of 40 steps are left but for 60 of these steps; the final
    # training takes 40 steps of 10 images at 100 images a second.
    assert sweep.seconds_left(110.0) == pytest.approx((200 - 60) / 4 + 4)
    # One that diverges takes none of its rest.
    sweep.measured(measured(values(0.1, 0.0), None))
    assert sweep.seconds_left(110.0) == pytest.approx((200 - 60) / 4 + 4)
    sweep.trained(training(values(0.1, 0.0), 30, "refit", rate=50.0), now=500.0)
    assert sweep.seconds_left(500.0) == pytest.approx(2)
    assert text(sweep)[0].strip() == (
        "final training on train + validation, 50 images/s, 0:00:02 left"
    )


def test_rungs_show_each_pairs_longest_run_and_the_best_of_the_longest():
    grid = methods.find("finetune", **HALVING).grid
    first = [measured(values(r, d, 10), 0.9) for r, d in product((0.01, 0.1, 1.0), (0.0, 1e-5))]
    sweep = Sweep(grid, first)
    assert "rung 1 of 2: 6 candidates for 10 steps" in text(sweep)[1]
    sweep.trained(training(values(0.1, 0.0), 3), now=0.0)
    sweep.measured(measured(values(1.0, 1e-5), 0.7))
    lines = text(sweep)
    assert "7 of 8 candidates" in lines[0]
    assert "rung 2 of 2: 2 candidates for 40 steps" in lines[1]
    assert cells(lines)["0.1"] == ["1.50", "90.0%"]
    assert cells(lines)["1"] == ["90.0%", "70.0%*"]


@pytest.mark.parametrize("name", ["finetune", "scratch"])
def test_the_grid_of_the_study_fits_80_columns_and_24_lines(name):
    grid = methods.find(name).grid
    pairs = list(product(grid.learning_rates, grid.weight_decays))
    done = [measured(values(*pair, steps=20_000), 0.999) for pair in pairs[:40]]
    sweep = Sweep(grid, [*done, measured(values(*pairs[40], steps=20_000), 1.0)])
    for pair in pairs[41:51]:
        sweep.trained(training(values(*pair, steps=20_000), 19_999, rate=1234.5), now=1.0)
    lines = text(sweep, now=9.0)
    assert max(map(len, lines)) <= 80
    # Beside a bar of trials.
    assert len(lines) <= 22
    assert "and 6 more" in "\n".join(lines)
    rows = lines[2 : 2 + len(grid.learning_rates)]
    assert [len(row.split()) for row in rows] == [9] * 7


def test_a_line_of_a_candidate():
    sweep = Sweep(methods.find("finetune", **GRID).grid, [])
    sweep.trained(training(values(0.1, 0.0), 1), now=0.0)
    sweep.trained(training(values(0.1, 0.0), 40), now=10.0)
    for each, said in (
        (measured(values(0.1, 0.0), 0.6251), "validation 62.51 %, loss 0.123, 100 images/s, "),
        (measured(values(1.0, 0.0), None), "diverged at step 7, 100 images/s, "),
    ):
        sweep.measured(each)
        assert said in candidate_line(sweep, each, 10.0)
    # 4 candidates of 40 steps, at 40 in 10 s; the final training at 100 images a second.
    assert candidate_line(sweep, each, 10.0) == (
        "2/6 rate 1, decay 0, 40 steps: diverged at step 7, 100 images/s, 0:00:44 left"
    )


def watched(terminal: bool) -> str:
    """What is printed while a search is watched."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=80, markup=False, highlight=False)
    trial = Trial(
        model=models.find(NETWORK),
        dataset=datasets.find("digits", limit=100),
        setting=methods.find("finetune", **GRID),
    )
    with LiveReporter(console, now=lambda: 1.0) as whole:
        reporter = whole.trial_started("net, digits", 1, 1)
        reporter.search_started(trial, [measured(values(0.01, 0.0), 0.5)])
        reporter.stage("candidate: rate 0.1", 40, "steps")
        reporter.trained(training(values(0.1, 1e-5), 12))
        reporter.measured(measured(values(0.1, 1e-5), 0.75))
        reporter.trained(training(values(0.1, 1e-5), 1, "refit"))
        reporter.trained(training(values(0.1, 1e-5), 40, "refit"))
        reporter.note("a note")
        reporter.trial_finished()
    return screen.getvalue()


def test_where_nothing_is_drawn_a_candidate_is_a_line():
    assert watched(terminal=False).splitlines() == [
        "[1/1] net, digits",
        "  1 of 6 candidates were measured before",
        "  2/6 rate 0.1, decay 1e-5, 40 steps: validation 75.00 %, loss 0.123, 100 images/s",
        "  final training on train + validation",
        "a note",
    ]


def test_on_a_terminal_the_grid_is_drawn():
    shown = watched(terminal=True)
    assert "net, digits" in shown
    assert "rate \\ decay" in shown
    assert "2/6" not in shown
    assert "a note" in shown


def display(terminal: bool, title: str) -> str:
    screen = io.StringIO()
    console = Console(
        file=screen, force_terminal=terminal, width=120, markup=False, highlight=False
    )
    with LiveReporter(console) as whole:
        reporter = whole.trial_started(title, 1, 2)
        reporter.stage("looking at the images", 10, "images")
        reporter.advance(4)
    return screen.getvalue()


@pytest.mark.parametrize("title", ["photos [bold]x", "labels.csv?sep=[/]", "{0} %s"])
def test_names_are_shown_as_they_are(title):
    shown = display(True, title)
    assert title in shown
    assert "looking at the images (images)" in shown
    assert display(False, title) == f"[1/2] {title}\n"


@pytest.mark.parametrize(
    ("done", "shown"), [(10, None), (4, "  looking (images): 4/10, 0:00:00 so far")]
)
def test_a_stage_that_is_complete_is_over_when_a_trial_begins(done, shown):
    with LiveReporter(Console(file=io.StringIO()), now=lambda: 1.0) as whole:
        whole.stage("looking", 10, "images")
        whole.advance(done)
        whole.trial_started("net, digits", 1, 1)
        assert whole.how_far() == shown


def test_a_stage_says_the_time_left_once_its_speed_is_known():
    seconds = [0.0]
    with LiveReporter(Console(file=io.StringIO()), now=lambda: seconds[0]) as whole:
        whole.stage("loading")
        seconds[0] = 3.0
        assert whole.how_far() == "  loading: 0:00:03 so far"
        whole.stage("looking", 100, "images")
        for _ in range(2):
            seconds[0] += 5.0
            whole.advance(20)
        assert whole.how_far() == "  looking (images): 40/100, 4/s, 0:00:15 left"
        whole.advance(60)
        seconds[0] += 1.0
        assert whole.how_far() == "  looking (images): 100/100, 16/s, 0:00:11 so far"


def test_where_nothing_is_drawn_nothing_is_printed():
    screen = io.StringIO()
    with LiveReporter(Console(file=screen, force_terminal=False)) as reporter:
        reporter.stage("reading the dataset")
    assert screen.getvalue() == ""
