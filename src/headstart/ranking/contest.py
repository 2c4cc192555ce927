"""The race of networks on images: what `Race` asks for, and its outcome as an answer."""

import base64
import json
from dataclasses import asdict, replace
from math import inf
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from headstart import methods, models
from headstart.errors import FeatureError, HeadstartError, ModelError, ProbeError, StudyError
from headstart.executors import Executor, InProcess
from headstart.features import table_of
from headstart.features.runtime import choose_runtime
from headstart.files import replaced, storage_errors
from headstart.methods.linear import KORNBLITH_LAMBDAS
from headstart.ranking.answer import (
    Cost,
    RankAnswer,
    choose,
    duration,
    not_tried,
    ranked_models,
    recommendation_sentence,
    rounded_up,
)
from headstart.ranking.candidates import Candidates
from headstart.ranking.cross_validation import (
    FOLDS,
    LAMBDAS,
    REPEATS,
    RESIZE,
    TOLERANCE,
    CrossValidation,
    RankImages,
    RankJob,
    RankMeasurement,
    close_networks,
)
from headstart.ranking.elimination import Level, critical_values
from headstart.ranking.race import BUDGET, Budget, Race, Racer, StepOutcome
from headstart.spec import Model, Setting, Trial, digest
from headstart.store import ResultStore
from headstart.study import device_name

__all__ = ["Contest", "RankJournal"]

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
# In the cache.
FOLDER = "ranking"


class Contest:
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
        self.job, self._images, self._candidates = job, images, candidates
        self._executor, self._notes = executor, notes
        self._by_name = {one.model.name: one for one in candidates.available}
        self._costs: dict[str, Cost] = {}
        # The last ended step of each model.
        self._ended: dict[str, RankMeasurement] = {}
        self._device, self._begun = device_name(job.context.device)[0], 0.0
        cache = job.context.cache
        self._arithmetic = {
            name: models.multiply_adds(one.model, cache) for name, one in self._by_name.items()
        }
        self._journal = RankJournal(cache, self._content())
        racers = [
            Racer(
                name,
                place,
                one.prior,
                self._arithmetic[name] or one.model.parameters,
                one.model.feature_dim,
            )
            for place, (name, one) in enumerate(self._by_name.items())
        ]
        self.race = Race(
            racers,
            self._levels(),
            self._measure,
            budget,
            n_final=len(images.splits.test),
            workers=executor.workers if executor else 1,
            fitted=self._fitted,
        )

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
        ended = self._ended.get(model.name)
        if needed <= left or ended is None or ended.lam is None or trial.key in store:
            return usual, ""
        place = KORNBLITH_LAMBDAS.index(ended.lam)
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
        facts = {
            name: {
                "prior": one.prior,
                "parameters": one.model.parameters,
                "multiply_adds": self._arithmetic[name],
                "licence": one.licence or models.licence_of(one.model),
                "why": one.why,
            }
            for name, one in self._by_name.items()
        }
        ranked = ranked_models(race, facts, self._costs)
        taken = choose(ranked, tolerance)
        top = len(race.levels) - 1
        complete = all(one.level == top for one in race.racers if one.status == "racing")
        sentence = recommendation_sentence(ranked, taken, race.sizes[-1])
        notes = list(self._notes)
        if broken := self._ended[taken.name].broken:
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
            not_tried=(*not_tried(race), *self._candidates.unavailable),
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
        size = self._images.sizes[level]
        return self._journal.fitted(self.model(racer.name), size, self._budget())

    def _measure(self, racer: Racer, level: int, allowed: float, limit: float) -> StepOutcome:
        """Measure a model on a level, or recall what an earlier run measured."""
        model, size = self.model(racer.name), self._images.sizes[level]
        dataset, context = self.job.dataset, self.job.context
        recalled = self._journal.recall(model, size)
        if recalled is not None:
            outcome = self._outcome(racer, level, recalled)
            return replace(outcome, recalled=outcome.measured is not None)
        title = f"{racer.name} on {size:,} images"
        own = context.reporter.trial_started(title, 0, len(self._by_name))
        cost = self._costs.get(racer.name) or self._journal.cost(model)
        n_needed = self._images.n_new(level) + self.race.n_remaining(level)
        job = RankJob(model, level, allowed, limit, n_needed, cost)
        n_images = sum(size for _, size in dataset.sizes)
        table = table_of(
            model, dataset.images_revision, n_images, RESIZE, self.job.precision, context
        )
        try:
            models.fetch(model, context.cache)
            runs = self._executor or InProcess()
            ((_, found),) = runs.map(self.job, [job], own.receive, group=(table.key, table.key))
        except (ModelError, FeatureError, ProbeError) as error:
            context.reporter.note(f"{racer.name}: left out: {error}")
            return StepOutcome(None, 0.0, reason=str(error))
        finally:
            own.trial_finished()
        self._journal.keep(model, size, found, self._budget())
        return self._outcome(racer, level, found)

    def _outcome(self, racer: Racer, level: int, found: RankMeasurement) -> StepOutcome:
        self._costs[racer.name] = found.cost
        if found.right is not None:
            self._ended[racer.name] = found
        seconds, limit = sum(found.seconds.values()), self.job.max_latency
        # What an earlier run without this limit measured is no reason to take it.
        fastest = min(
            one.latency for one in (found.cost, self._journal.cost(self.model(racer.name))) if one
        )
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
            found.right,
            seconds,
            seconds_per_image=rate,
            once=found.seconds.get("imports", 0.0),
            overhead=rate - alone,
            probe_seconds=probe,
            load_seconds=found.cost.load,
            reason=BUDGET if found.right is None else "",
            needed=found.needed,
        )

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
        n_classes = len(self.job.dataset.classes)
        fits = {
            one.name: self._begun
            + race.fits(one, lambda n: PROBE_SECONDS + PROBE_PART * n * n_classes)
            for one in known
        }
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


class RankJournal:
    """What a race measured, in the cache, so that it goes on where it was interrupted.

    There is one file per model, written whole or not at all.

    `content` is all that determines the measurements but the model, and the device, as JSON.
    """

    def __init__(self, cache: Path, content: dict[str, Any]) -> None:
        self._folder = cache / FOLDER / digest(content)
        self._content, self._lock = content, Lock()

    def recall(self, model: Model, size: int) -> RankMeasurement | None:
        """Return what was measured of a model on so many images, None for nothing."""
        step = self._step(model, size)
        if step is None:
            return None
        shape = tuple(step["shape"])
        bits = np.frombuffer(base64.b64decode(step["right"]), np.uint8)
        right = np.unpackbits(bits, count=int(np.prod(shape))).reshape(shape).astype(bool)
        # As it was known then, so that what follows is decided as it was.
        cost, broken = Cost(**step["cost"]), step.get("broken", 0)
        return RankMeasurement(cost, right, step["seconds"], lam=step["lambda"], broken=broken)

    def cost(self, model: Model) -> Cost | None:
        """Return what was measured of a model's speed."""
        kept = self._read(model)
        return Cost(**kept["cost"]) if kept else None

    def fitted(self, model: Model, size: int, budget: float) -> bool:
        """Whether a measurement was made within a budget, all workers together, that is no larger.

        What fitted it then fits this one, too, in whichever order workers have ended.
        """
        step = self._step(model, size)
        return step is not None and step.get("budget", inf) <= budget

    def keep(self, model: Model, size: int, found: RankMeasurement, budget: float) -> None:
        """Keep a measurement, the speed of its network, and the budget (seconds) it was made in."""
        place = self._place(model)
        with self._lock, storage_errors(place):
            kept = self._read(model) or {"content": self._content, "model": model.name, "steps": {}}
            kept["cost"] = asdict(found.cost)
            if found.right is not None:
                kept["steps"][str(size)] = {
                    "right": base64.b64encode(np.packbits(found.right).tobytes()).decode(),
                    "shape": found.right.shape,
                    "cost": asdict(found.cost),
                    "seconds": found.seconds,
                    "lambda": found.lam,
                    "broken": found.broken,
                    "budget": budget,
                }
            place.parent.mkdir(parents=True, exist_ok=True)
            with replaced(place) as temporary:
                temporary.write_text(json.dumps(kept))

    def _step(self, model: Model, size: int) -> Any:
        kept = self._read(model)
        return kept["steps"].get(str(size)) if kept else None

    def _read(self, model: Model) -> Any:
        """Return the file of a model; nothing where it is absent or damaged."""
        try:
            kept = json.loads(self._place(model).read_bytes())
            Cost(**kept["cost"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return kept

    def _place(self, model: Model) -> Path:
        return self._folder / f"{digest(model.identity)}.json"
