"""`rank`: which backbone for these images? Candidates in, race, test, answer out."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, ValidationError

from headstart import datasets, methods, models
from headstart.artifacts import ArtifactFolder
from headstart.context import ProgressReporter, RunContext
from headstart.datasets.images import small_picture
from headstart.deploy.final_network import kept_models_of
from headstart.deploy.result_details import ResultDetails, details_of
from headstart.devices import Device
from headstart.errors import DatasetError, StudyError, UnknownNameError
from headstart.executors import Executor, executor_of
from headstart.models.saved_networks import CARD, KEY_DIGITS
from headstart.ranking.answer import ClassAccuracy, Confusion, FineTuned, HeldOut, RankAnswer
from headstart.ranking.candidates import Candidates, find_candidates
from headstart.ranking.contest import Contest
from headstart.ranking.cross_validation import (
    FEWEST_GROUPS,
    FOLDS,
    CrossValidation,
    RankImages,
    check_rank_images,
    rank_images,
)
from headstart.ranking.race import Budget
from headstart.spec import Dataset, Prediction, Result, Setting, Trial
from headstart.spec.formatting import count
from headstart.spec.noun import Noun, first_invalid
from headstart.spec.setting import Precision
from headstart.stats import mcnemar, wilson_interval
from headstart.store import DATABASE_NAME, ResultStore
from headstart.study import check_context, run_study

__all__ = ["DEFAULT_BUDGET", "DEFAULT_TOLERANCE", "RankOptions", "rank"]

DEFAULT_BUDGET = 1800.0
# Accuracy that may be given up for a faster model, as a proportion.
DEFAULT_TOLERANCE = 0.005
# Confusions that are listed, and images of each.
CONFUSIONS, PICTURES = 6, 6
LEVEL = 0.95


class RankOptions(Noun):
    """What `rank` looks for, and how long.

    Parameters
    ----------
    models
        Candidates, as `find_candidates` takes them.
    budget
        Seconds for race and test; what an earlier, interrupted run spent on the same counts.
        Fine-tuning is beside it.
    max_params, max_latency
        Largest number of parameters, and largest median latency of one image in seconds.
    tolerance
        Accuracy, a proportion, given up for a faster model that is not significantly worse.
    finetune_top, finetune
        Number of leaders that are fine-tuned, and the protocol of the search.
    limit, skip_broken, precision, seed
        As in a study. The seed draws levels and folds.
    """

    models: str | tuple[str, ...] = "default"
    budget: float = Field(DEFAULT_BUDGET, gt=0)
    max_params: float | None = Field(None, gt=0)
    max_latency: float | None = Field(None, gt=0)
    tolerance: float = Field(DEFAULT_TOLERANCE, ge=0, lt=1)
    finetune_top: int = Field(0, ge=0)
    finetune: str = "quick"
    limit: int | None = Field(None, ge=1)
    skip_broken: bool = False
    precision: Precision = "fp32"
    seed: int = Field(0, ge=0, lt=2**32)

    def settings(self) -> tuple[Setting, Setting]:
        """Return what the winner is fitted by, and what fine-tunes leaders."""
        linear = methods.find("linear", precision=self.precision, ties="log_loss")
        tuned = methods.find("finetune", protocol=self.finetune, precision=self.precision)
        return linear, tuned

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """Return checked options; StudyError names the first that is not what it has to be."""
        if unknown := next((name for name in options if name not in cls.model_fields), None):
            raise UnknownNameError("option", unknown, cls.model_fields)
        try:
            return cls(**options)
        except ValidationError as error:
            found = first_invalid(error)
            name = str(found.place[0])
            raise StudyError(
                f"invalid {name} {found.shown}: expected {found.expected}",
                code="ranking.option_invalid",
                name=name,
                value=options[name],
            ) from error


def rank(
    dataset: str | Path,
    *,
    store: Path | str = "headstart.db",
    keep_models: Path | str | None = None,
    device: Device = "auto",
    trust: bool = False,
    reporter: ProgressReporter | None = None,
    workers: int = 0,
    executor: str | None = None,
    executor_options: Mapping[str, Any] | None = None,
    raced: Callable[[RankAnswer], None] = lambda _: None,
    **options: Any,
) -> RankAnswer:
    """Find the backbone to take for a dataset of images within a budget.

    The dataset's test images are set aside. On all others (train and validation) the candidates
    race by repeated cross-validation of a linear probe; those that are significantly worse than
    another one are dropped. The recommended model is fitted on all of them by an ordinary linear
    trial, which is stored, and tested once on the images that were set aside.

    Parameters
    ----------
    dataset
        A folder of images, or any name of a dataset.
    store, device, trust, reporter, workers, executor, executor_options
        As in `Study.run`.
    keep_models
        Folder or URL for the recommended network; ``STORE.models`` beside a file unless given.
    raced
        Called with the answer before the test begins; the choice does not depend on the test.
    options
        Fields of `RankOptions`.

    Raises
    ------
    HeadstartError
        As a study's; no candidate, a budget too short for one, labels that do not do.
    """
    chosen, reporter = RankOptions.of(options), reporter or ProgressReporter()
    budget = Budget(chosen.budget)
    # All that can be refused without a look at the images is refused before it.
    linear, tuned = chosen.settings()
    candidates = _candidates(chosen.models, chosen.max_params)
    context = RunContext(device=device, reporter=reporter, trust=trust)
    results, keep = _checked_places(store, keep_models, context, chosen.precision)
    found, images = _read(dataset, chosen, context)
    notes = check_rank_images(found, images, context)
    own = {**(executor_options or {}), "note": reporter.note}
    with executor_of(workers, device, executor, **own) as opened:
        job = CrossValidation(found, chosen.seed, context, chosen.precision, chosen.max_latency)
        contest = Contest(job, images, candidates, budget, opened, notes)
        contest.run()
        answer = contest.answered(chosen.tolerance)
        raced(answer)
        context = replace(context, keep=keep)
        answer = _tested(answer, contest, linear, results, context)
        if top := chosen.finetune_top:
            answer = _fine_tuned(answer, contest, top, (linear, tuned), results, context, opened)
    return answer


def _checked_places(
    store: Path | str, keep_models: Path | str | None, context: RunContext, precision: Precision
) -> tuple[ResultStore, ArtifactFolder | None]:
    """Open the places of results and networks; refuse those, or a device, that cannot be used."""
    results = ResultStore(store, create=True)
    results.check_writable()
    keep = kept_models_of(results, keep_models)
    # The usual folder is beside the store, and made when there is a network.
    check_context(replace(context, keep=keep if keep_models else None), {precision}, {precision})
    return results, keep


def _read(name: str | Path, chosen: RankOptions, context: RunContext) -> tuple[Dataset, RankImages]:
    """Find the dataset, and read it; StudyError if its classes are too small to be divided."""
    try:
        dataset = _dataset(name, chosen, context.reporter)
        return dataset, rank_images(dataset, chosen.seed, context.cache)
    except DatasetError as error:
        if error.code != "dataset.split_impossible":
            raise
        needed, for_all = FEWEST_GROUPS + 1, FOLDS + 1
        raise StudyError(
            f"the classes of {name} are too small to set images aside for the test: rank needs "
            f"{needed} images per class, and {for_all} to have each class in all {FOLDS} folds "
            "(images of one group count once); add images",
            code="ranking.class_small",
            folds=FOLDS,
        ) from error


def _dataset(name: str | Path, options: RankOptions, reporter: ProgressReporter) -> Dataset:
    """Find the dataset; a limit over all its splits is none."""
    find = partial(datasets.find, name, skip_broken=options.skip_broken, reporter=reporter)
    try:
        return find(limit=options.limit)
    except StudyError as error:
        if "sizes" not in error.values:
            raise
        reporter.note(f"--limit {options.limit:,} is over the size of each split: all images count")
    return find()


def _candidates(listed: str | tuple[str, ...], max_params: float | None) -> Candidates:
    """Find the candidates; StudyError if there is none."""
    found = find_candidates(listed, max_params=max_params)
    if found.available:
        return found
    first = found.unavailable[0]
    n = len(found.unavailable)
    text = listed if isinstance(listed, str) else ",".join(listed)
    if max_params is not None and find_candidates(listed).available:
        raise StudyError(
            f"--max-params {max_params:,.0f} excludes all candidates of --models {text} that "
            "are on this machine: raise it, or name smaller models",
            code="ranking.constraints",
            max_params=max_params,
        )
    raise StudyError(
        f"no candidate of --models {text} is on this machine ({n} named); {first.name}: "
        f"{first.reason}: {first.remedy}",
        code="ranking.no_candidate",
        models=text,
        named=n,
    )


def _tested(
    answer: RankAnswer, contest: Contest, linear: Setting, store: ResultStore, context: RunContext
) -> RankAnswer:
    """Fit the winner on all other images by an ordinary linear trial, and test it once.

    Its result is stored like any other, and its network is kept where `context` has a folder.
    """
    dataset, seed = contest.job.dataset, contest.job.seed
    winner, notes = contest.model(answer.recommended), answer.notes
    linear, note = contest.final_setting(winner, linear, store)
    if note:
        context.reporter.note(note)
        notes = (*notes, note)
    context.reporter.stage("test of the recommended model")
    trial = Trial(model=winner, dataset=dataset, setting=linear, seed=seed)
    (result,) = _measured([trial], store, context, None)
    predictions = store.predictions(trial.key)
    metric, n = dataset.metric, len(predictions.label)
    test = datasets.load(dataset, seed, context.cache).test
    details = details_of(result, predictions)
    found = wilson_interval(float((predictions.predicted == predictions.label).mean()), n, LEVEL)
    place, folder = trial.key[:KEY_DIGITS], context.keep
    held_out = HeldOut(
        key=trial.key,
        store=store.name,
        # A trial that was stored before without its network has none.
        folder=f"{folder}/{place}" if folder and folder.exists(f"{place}/{CARD}") else None,
        deploy=_deploy(result, store, folder),
        n=n,
        left_out=len(test.images) - n,
        metric=metric,
        accuracy=result.metrics[metric],
        low=found.low if metric == "top-1" else None,
        high=found.high if metric == "top-1" else None,
        calibration_error=result.metrics["calibration-error"],
        log_loss=result.metrics["log-loss"],
        classes=tuple(
            ClassAccuracy(one.name, one.n, one.score, one.low, one.high)
            for one in details.per_class
            if one.score is not None and one.low is not None and one.high is not None
        ),
        confusions=_confusions(details, predictions, test),
    )
    if folder:
        models.keep_choice(trial.key, folder, answer.choice())
    return replace(answer, held_out=held_out, spent=contest.race.budget.spent, notes=notes)


def _confusions(
    details: ResultDetails, predictions: Prediction, test: datasets.SealedTest
) -> tuple[Confusion, ...]:
    """Return the most frequent confusions; images of each, the most confident mistakes first."""
    classes, labels = details.result.trial.dataset.classes, predictions.label
    places = {row: place for place, row in enumerate(test.rows.tolist())}
    margin = predictions.scores.max(axis=1) - predictions.scores[np.arange(len(labels)), labels]
    found = []
    for one in details.confused[:CONFUSIONS]:
        label, predicted = classes.index(one.label), classes.index(one.predicted)
        rows = np.flatnonzero((labels == label) & (predictions.predicted == predicted))
        rows = rows[np.argsort(-margin[rows], kind="stable")][:PICTURES]
        pictures = [
            small_picture(test.images, places[int(predictions.example[row])]) for row in rows
        ]
        found.append(Confusion(one.label, one.predicted, one.n, one.of, tuple(pictures)))
    return tuple(found)


def _fine_tuned(
    answer: RankAnswer,
    contest: Contest,
    top: int,
    settings: tuple[Setting, Setting],
    store: ResultStore,
    context: RunContext,
    executor: Executor | None,
) -> RankAnswer:
    """Fine-tune the leaders, and compare each with its linear probe on the same test images.

    Fine-tuned networks are kept where `context` has a folder; a probe can be fitted again.
    """
    context.reporter.stage(f"fine-tuning of the leaders ({settings[1].title})")
    dataset, seed = contest.job.dataset, contest.job.seed
    leaders = [contest.model(one.name) for one in answer.tied[:top]]
    probes, tunings = (
        [Trial(model=model, dataset=dataset, setting=one, seed=seed) for model in leaders]
        for one in settings
    )
    _measured(probes, store, replace(context, keep=None), executor)
    found = []
    for probe, result in zip(probes, _measured(tunings, store, context, executor), strict=True):
        both = [store.predictions(key) for key in (probe.key, result.trial.key)]
        _, *places = np.intersect1d(both[0].example, both[1].example, return_indices=True)
        linear, accuracy = (
            (one.predicted == one.label)[shared] for one, shared in zip(both, places, strict=True)
        )
        test = mcnemar(accuracy, linear, 1 - (1 - LEVEL) / len(leaders))
        found.append(
            FineTuned(
                name=result.trial.model.name,
                key=result.trial.key,
                setting=result.trial.setting.title,
                linear=float(linear.mean()),
                accuracy=float(accuracy.mean()),
                difference=test.difference,
                low=test.low,
                high=test.high,
                seconds=sum(result.seconds.values()),
                deploy=_deploy(result, store, context.keep),
            )
        )
    notes = answer.notes
    if len(leaders) < top:
        few = f"--finetune-top {top}: {count(len(leaders), 'model')} fine-tuned"
        notes = (*notes, f"{few}, as no other is tied with the best")
    return replace(answer, finetuned=tuple(found), notes=notes)


def _measured(
    trials: list[Trial], store: ResultStore, context: RunContext, executor: Executor | None
) -> list[Result]:
    run = run_study(trials, store, context, executor)
    if run.failures:
        failed = run.failures[0]
        raise StudyError(
            f"{failed.trial.title}: {failed.error}",
            code="ranking.trial_failed",
            key=failed.trial.key,
        )
    return list(run.results)


def _deploy(result: Result, store: ResultStore, folder: ArtifactFolder | None) -> str:
    """Return the command that exports the network; options are named where they are not usual."""
    command = f"headstart export {result.trial.key[:KEY_DIGITS]} --to onnx"
    if store.name != DATABASE_NAME:
        command += f" --store {shlex.quote(store.name)}"
    if folder is not None and str(folder) != str(store.models_place):
        command += f" --kept-models {shlex.quote(str(folder))}"
    return command
