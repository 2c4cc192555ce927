"""`rank`: which backbone for these images? Candidates in, race, test, answer out."""

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
from headstart.devices import Device
from headstart.errors import (
    DatasetError,
    FeatureError,
    HeadstartError,
    ModelError,
    ProbeError,
    StudyError,
    UnknownNameError,
)
from headstart.executors import Executor, InProcess, executor_of
from headstart.features import table_of
from headstart.features.runtime import choose_runtime
from headstart.methods.linear import KORNBLITH_LAMBDAS
from headstart.ranking.answer import Cost, NotTried, RankAnswer
from headstart.ranking.candidates import Candidates, RankCandidate, find_candidates
from headstart.ranking.cross_validation import (
    FEWEST_GROUPS,
    FOLDS,
    LAMBDAS,
    REPEATS,
    RESIZE,
    TOLERANCE,
    CrossValidation,
    RankImages,
    RankJob,
    RankMeasurement,
    check_rank_images,
    close_networks,
    rank_images,
)
from headstart.ranking.elimination import CrossValidated, Level, critical_values
from headstart.ranking.held_out import fine_tune_leaders, test_winner
from headstart.ranking.journal import RankJournal
from headstart.ranking.race import BUDGET, Budget, Race, Racer, StepOutcome
from headstart.ranking.recommendation import (
    choose,
    duration,
    not_tried,
    ranked_models,
    recommendation_sentence,
    rounded_up,
)
from headstart.spec import Dataset, Model, Setting, Trial
from headstart.spec.formatting import count
from headstart.spec.noun import Noun, first_invalid
from headstart.spec.setting import Precision
from headstart.store import ResultStore
from headstart.study import check_context, device_name

__all__ = ["DEFAULT_BUDGET", "DEFAULT_TOLERANCE", "RankOptions", "rank"]

DEFAULT_BUDGET = 1800.0
# Accuracy that may be given up for a faster model, as a proportion.
DEFAULT_TOLERANCE = 0.005
# Probability that the best candidate is dropped.
ERROR = 0.05
# Increase it when a change of the code may change what is measured.
IMPLEMENTATION = 6
# Steps in the winner's lambdas from the one that the cross-validation prefers to those that are
# tried where there is no time for all: up to the next ones of the cross-validation.
AROUND = (-4, -2, 0, 2, 4)


# Of a cross-validation, where nothing is known of it yet: twice the seconds, and seconds per image
# and class, of one CPU for 30 to 1,200 images of 2 to 300 classes.
PROBE_SECONDS, PROBE_PART = 1.0, 1.2e-4


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
        contest = _Contest(job, images, candidates, budget, opened, notes)
        contest.run()
        answer = contest.answered(chosen.tolerance)
        raced(answer)
        keeping = replace(context, keep=keep)
        answer = _tested(answer, contest, linear, results, keeping)
        if chosen.finetune_top:
            answer = _fine_tuned(answer, contest, chosen, (linear, tuned), results, keeping, opened)
    return answer


def _fine_tuned(
    answer: RankAnswer,
    contest: "_Contest",
    options: RankOptions,
    settings: tuple[Setting, Setting],
    store: ResultStore,
    context: RunContext,
    executor: Executor | None,
) -> RankAnswer:
    job = contest.job
    context.reporter.stage(f"fine-tuning of the leaders ({settings[1].title})")
    leaders = [contest.model(one.name) for one in answer.tied[: options.finetune_top]]
    found = fine_tune_leaders(leaders, job.dataset, settings, job.seed, store, context, executor)
    notes = answer.notes
    if len(leaders) < options.finetune_top:
        few = f"--finetune-top {options.finetune_top}: {count(len(leaders), 'model')} fine-tuned"
        notes = (*notes, f"{few}, as no other is tied with the best")
    return replace(answer, finetuned=found, notes=notes)


def _checked_places(
    store: Path | str, keep_models: Path | str | None, context: RunContext, precision: Precision
) -> tuple[ResultStore, ArtifactFolder | None]:
    """Open the places of results and networks; refuse those, or a device, that cannot be used."""
    results = ResultStore(store, create=True)
    results.check_writable()
    place = keep_models or results.models_place
    keep = ArtifactFolder(place) if place else None
    # The usual folder is beside the store, and made when there is a network.
    check_context(replace(context, keep=keep if keep_models else None), {precision}, {precision})
    return results, keep


def _tested(
    answer: RankAnswer,
    contest: "_Contest",
    linear: Setting,
    store: ResultStore,
    context: RunContext,
) -> RankAnswer:
    job, winner = contest.job, contest.model(answer.recommended)
    linear, note = contest.final_setting(winner, linear, store)
    if note:
        context.reporter.note(note)
    context.reporter.stage("test of the recommended model")
    held_out = test_winner(winner, job.dataset, linear, job.seed, store, context)
    if context.keep:
        models.keep_choice(held_out.key, context.keep, answer.choice())
    notes = (*answer.notes, note) if note else answer.notes
    return replace(answer, held_out=held_out, spent=contest.race.budget.spent, notes=notes)


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
        f"{first.reason}: {first.how_to_get}",
        code="ranking.no_candidate",
        models=text,
        named=n,
    )


class _Contest:
    """The race of networks on images: what `Race` needs, and its outcome as an answer."""

    def __init__(
        self,
        job: CrossValidation,
        images: RankImages,
        candidates: Candidates,
        budget: Budget,
        executor: Executor | None,
        notes: tuple[str, ...],
    ) -> None:
        self._notes = notes
        self.job, self._images, self._candidates = job, images, candidates
        self._executor = executor
        self._by_name = {one.model.name: one for one in candidates.available}
        self._costs: dict[str, Cost] = {}
        self._lambdas: dict[str, float] = {}
        self._broken: dict[str, int] = {}
        self._device, self._begun = device_name(job.context.device)[0], 0.0
        cache = job.context.cache
        self._arithmetic = {
            one.model.name: models.multiply_adds(one.model, cache) for one in candidates.available
        }
        self._journal = RankJournal(cache, self._content())
        racers = [
            Racer(
                one.model.name,
                place,
                one.prior,
                self._arithmetic[one.model.name] or one.params,
                one.model.feature_dim,
            )
            for place, one in enumerate(candidates.available)
        ]
        n_test = len(images.splits.test)
        workers = executor.workers if executor else 1
        self.race = Race(
            racers, self._levels(), self._measure, budget, n_final=n_test, workers=workers,
            fitted=self._fitted,
        )  # fmt: skip

    def model(self, name: str) -> Model:
        """Return a candidate's network by its name."""
        return self._by_name[name].model

    def run(self) -> None:
        """Race; StudyError if not one model was measured."""
        # The stage of a whole run, while each step has its own: reading the images is over.
        n = len(self.race.racers)
        self.job.context.reporter.stage(f"race of {n} model{'s' if n > 1 else ''}")
        self._begun = self.race.budget.spent
        close_networks()
        try:
            self.race.run()
        except BaseException:
            if self._executor:
                self._executor.stop()
            raise
        finally:
            close_networks()
        if not self.race.leaders():
            raise self._nothing()

    def final_setting(
        self, model: Model, usual: Setting, store: ResultStore
    ) -> tuple[Setting, str]:
        """Return the linear setting of the winner's trial, and a note where it is a short one.

        It is the usual one where the budget allows it, or its result is there already.
        """
        job, race = self.job, self.race
        racer = next(one for one in race.racers if one.name == model.name)
        needed, left = race.final(racer, racer.level), max(0.0, race.budget.left)
        trial = Trial(model=model, dataset=job.dataset, setting=usual, seed=job.seed)
        lam = self._lambdas.get(model.name)
        if needed <= left or lam is None or trial.key in store:
            return usual, ""
        place = KORNBLITH_LAMBDAS.index(lam)
        steps = [place + step for step in AROUND if 0 <= place + step < len(KORNBLITH_LAMBDAS)]
        lambdas = tuple(KORNBLITH_LAMBDAS[step] for step in steps)
        note = (
            f"the test of {model.name} may take {duration(needed)} with all "
            f"{len(KORNBLITH_LAMBDAS)} lambdas, and {duration(left)} of the budget are left: its "
            f"lambda is chosen among {len(lambdas)} around that of the cross-validation"
        )
        return methods.find("linear", precision=job.precision, lambdas=lambdas), note

    def answered(self, tolerance: float) -> RankAnswer:
        """Return the answer, without what the test images say."""
        race, dataset = self.race, self.job.dataset
        facts = {name: self._facts(one) for name, one in self._by_name.items()}
        ranked = ranked_models(race, facts, self._costs)
        taken = choose(ranked, tolerance)
        left_out = tuple(NotTried(*one) for one in self._candidates.unavailable)
        top = len(race.levels) - 1
        complete = all(one.level == top for one in race.racers if one.status == "racing")
        sentence = recommendation_sentence(ranked, taken, race.sizes[-1])
        notes = list(self._notes)
        if broken := self._broken[taken.name]:
            notes.append(
                f"{broken:,} of the {taken.images:,} images that {taken.name} was measured on "
                "cannot be decoded and count as wrong, for all models alike"
            )
        if not complete:
            sentence += " The budget ended before all models were measured on all images."
        return RankAnswer(
            dataset=dataset.name,
            classes=len(dataset.classes),
            images=race.sizes[-1],
            test_images=len(self._images.splits.test),
            metric=dataset.metric,
            split_rule=dataset.split_rule,
            seed=self.job.seed,
            folds=FOLDS,
            repeats=REPEATS,
            error=ERROR,
            tolerance=tolerance,
            budget=race.budget.seconds,
            spent=race.budget.spent,
            complete=complete,
            device=self._device,
            models=ranked,
            not_tried=(*not_tried(race), *left_out),
            recommended=taken.name,
            sentence=sentence,
            notes=tuple(notes),
        )

    def _content(self) -> dict[str, Any]:
        """Return all that determines what is measured of a model, and the device."""
        from headstart.devices import resolve_device

        job, dataset = self.job, self.job.dataset
        device = resolve_device(job.context.device).type
        return {
            "dataset": dataset.identity,
            "images": dataset.images_revision,
            "seed": job.seed,
            "folds": [FOLDS, REPEATS],
            "lambdas": LAMBDAS,
            "tolerance": TOLERANCE,
            "resize": RESIZE,
            "precision": job.precision,
            "runtime": choose_runtime(device, job.precision),
            "device": self._device,
            "implementation": IMPLEMENTATION,
        }

    def _levels(self) -> list[Level]:
        """Return what models are compared on."""
        images, metric = self._images, self.job.dataset.metric
        sizes = images.sizes
        critical = critical_values(len(sizes), len(self._by_name), ERROR)
        levels = []
        for level, size in enumerate(sizes):
            rows = images.rows(level)
            weights = np.ones(size)
            if metric == "mean-per-class":
                classes, place, counts = np.unique(
                    images.labels[rows], return_inverse=True, return_counts=True
                )
                weights = size / (len(classes) * counts[place])
            _, clusters = np.unique(images.groups[rows], return_inverse=True)
            levels.append(Level(weights, clusters, FOLDS, float(critical[level])))
        return levels

    def _budget(self) -> float:
        """Return the seconds of all workers together."""
        return self.race.budget.seconds * self.race.workers

    def _fitted(self, racer: Racer, level: int) -> bool:
        """Whether an earlier run with a budget that was no larger measured a model on a level."""
        model, size = self._by_name[racer.name].model, self._images.sizes[level]
        return self._journal.fitted(model, size, self._budget())

    def _measure(self, racer: Racer, level: int, allowed: float, limit: float) -> StepOutcome:
        """Measure a model on a level, or recall what an earlier run measured."""
        model, size = self._by_name[racer.name].model, self._images.sizes[level]
        reporter = self.job.context.reporter
        recalled = self._journal.recall(model, size)
        if recalled is not None:
            return self._outcome(racer, level, recalled, recalled_=True)
        title = f"{racer.name} on {size:,} images"
        own = reporter.trial_started(title, 0, len(self._by_name))
        cost = self._costs.get(racer.name) or self._journal.cost(model)
        n_needed = self._images.n_new(level) + self.race.n_remaining(level)
        job = RankJob(model, level, allowed, limit, n_needed, cost)
        table = table_of(
            model,
            self.job.dataset.images_revision,
            sum(size for _, size in self.job.dataset.sizes),
            RESIZE,
            self.job.precision,
            self.job.context,
        )
        try:
            models.fetch(model, self.job.context.cache)
            runs = self._executor or InProcess()
            mapped = runs.map(self.job, [job], own.receive, group=(table.key, table.key))
            ((_, found),) = mapped
        except (ModelError, FeatureError, ProbeError) as error:
            reporter.note(f"{racer.name}: left out: {error}")
            return StepOutcome(None, 0.0, reason=str(error))
        finally:
            own.trial_finished()
        self._journal.keep(model, size, found, self._budget())
        return self._outcome(racer, level, found)

    def _outcome(
        self, racer: Racer, level: int, found: RankMeasurement, *, recalled_: bool = False
    ) -> StepOutcome:
        model = self._by_name[racer.name].model
        self._costs[racer.name] = found.cost
        if found.lam is not None:
            self._lambdas[racer.name] = found.lam
            self._broken[racer.name] = found.broken
        seconds, limit = sum(found.seconds.values()), self.job.max_latency
        # What an earlier run without this limit measured is no reason to take it.
        fastest = min(one.latency for one in (found.cost, self._journal.cost(model)) if one)
        if limit is not None and fastest > limit:
            reason = f"{1000 * fastest:.3g} ms per image, over {1000 * limit:.3g} ms"
            return StepOutcome(None, seconds, reason=reason)
        probe = found.seconds.get("probe", 0.0)
        if probe and found.needed is not None:
            probe += found.needed - seconds
        # Features that were there cost nothing this time; those of the next level may be lacking.
        alone, n_new = found.cost.seconds_per_image, self._images.n_new(level)
        rate = max(alone, found.seconds.get("features", 0.0) / n_new)
        return StepOutcome(
            None if found.right is None else CrossValidated(found.right),
            seconds,
            seconds_per_image=rate,
            once=found.seconds.get("imports", 0.0),
            overhead=rate - alone,
            probe_seconds=probe,
            load_seconds=found.cost.load,
            reason=BUDGET if found.right is None else "",
            needed=found.needed,
            recalled=recalled_,
        )

    def _facts(self, one: RankCandidate) -> dict[str, Any]:
        return {
            "prior": one.prior,
            "parameters": one.params,
            "multiply_adds": self._arithmetic[one.model.name],
            "licence": one.licence or models.licence_of(one.model),
            "why": one.why,
        }

    def _nothing(self) -> HeadstartError:
        """Return the error of a race in which no model was measured."""
        racers, limit = self.race.racers, self.job.max_latency
        left_out = [one for one in racers if one.status == "left out"]
        slow = [cost.latency for cost in self._costs.values() if limit and cost.latency > limit]
        if len(left_out) < len(racers):
            return self._too_short()
        if limit is not None and slow:
            return StudyError(
                f"--max-latency {1000 * limit:.3g}ms excludes all {len(slow)} candidates that run: "
                f"the fastest takes {1000 * min(slow):.3g} ms per image on this device",
                code="ranking.constraints",
                max_latency=limit,
            )
        return StudyError(
            f"no candidate can be measured; {left_out[0].name}: {left_out[0].reason}",
            code="ranking.no_candidate",
            named=len(racers),
        )

    def _too_short(self) -> HeadstartError:
        """Return the error of a budget that not one model fits, after its speed is known."""
        race = self.race
        known = race.learn()
        if not known:
            return self._nothing()
        # To read the images takes what it took, or less.
        fits = {one.name: self._begun + race.fits(one, self._guessed_probe) for one in known}
        name, enough = min(fits.items(), key=lambda item: item[1])
        budget, shown = race.budget.seconds, rounded_up(enough)
        return StudyError(
            f"--budget {duration(budget)} is too short for one model: {name} on "
            f"{race.sizes[0]:,} images and its test take up to {duration(shown)}: pass --budget "
            f"{shown:.0f}s",
            code="ranking.budget_short",
            budget=budget,
            fits=shown,
        )

    def _guessed_probe(self, n_images: int) -> float:
        return PROBE_SECONDS + PROBE_PART * n_images * len(self.job.dataset.classes)
