"""The miniature and its sizes: pretraining, transfer, ablation, convergence, dataset size."""

import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import monotonic
from types import MappingProxyType
from typing import Any

from headstart.context import ProgressReporter, RunContext
from headstart.errors import HeadstartError, StorageError
from headstart.executors import Executor
from headstart.files import replaced, storage_errors, writable_folder
from headstart.pretraining import PretrainJob, make_recipe, pretrain_all
from headstart.spec import Recipe, Result, Trial
from headstart.store import DATABASE_NAME, ResultStore
from headstart.study import Study
from headstart.study.run import run_study
from headstart.study.sweep_studies import configurations, possible

__all__ = [
    "FULL",
    "STAGES",
    "TINY",
    "ChainScale",
    "Miniature",
    "TimingLog",
    "run_miniature",
    "short",
    "to_pretrain",
]

ABLATION = "ablation"
# The ablation's networks start from other random weights than those of the main study: with equal
# weights they would be the same trials.
MAIN_SEED, ABLATION_SEED = 0, 1

Fields = dict[str, Any]


@dataclass(frozen=True)
class ChainScale:
    """The whole study for small networks and images.

    Parameters
    ----------
    name
        Prefix of the networks' names.
    networks
        Architectures of the source ``small``.
    upstream
        Dataset to pretrain on.
    pretraining
        Fields of every `headstart.spec.Recipe`.
    targets
        Datasets to transfer to, with a limit on images per split; None for all.
    settings
        Options of each setting, as in `headstart.study.Study`.
    ablated, ablation_settings
        Networks to pretrain in all configurations of the paper, and names of the settings to
        transfer them by.
    convergence_model, curve_targets, curve_steps
        Network, datasets and numbers of steps per setting of the convergence study.
    size_model, size_targets, examples_per_class, seeds
        Network, datasets, images per class and random subsets of the dataset-size study.
    embed_dataset, classes
        Dataset to embed test features of, and the number of its classes.
    upstream_limit
        Limit on images per split of the upstream dataset; None for all.
    """

    name: str
    networks: tuple[str, ...]
    upstream: str
    pretraining: Fields
    targets: Mapping[str, int | None]
    settings: tuple[Fields, ...]
    ablated: tuple[str, ...]
    ablation_settings: tuple[str, ...]
    convergence_model: str
    curve_targets: tuple[str, ...]
    curve_steps: dict[str, tuple[int, ...]]
    size_model: str
    size_targets: tuple[str, ...]
    examples_per_class: tuple[int, ...]
    seeds: tuple[int, ...]
    embed_dataset: str
    classes: int
    upstream_limit: int | None = None

    def name_of(self, arch: str, configuration: str = "") -> str:
        """Return the name of the network of an architecture, or of one of its configurations."""
        label = configuration.partition(":")[0]
        return "-".join([self.name, short(arch), *([label] if label else [])])

    def setting(self, name: str, **changes: Any) -> Fields:
        """Return the options of a setting, with changes."""
        (found,) = [options for options in self.settings if options["name"] == name]
        return {**found, **changes}


def short(arch: str) -> str:
    """Return a model's name without source and options."""
    return arch.partition(":")[2].partition("?")[0]


def _training(rates: tuple[float, ...], **options: Any) -> Fields:
    """Return options of fine-tuning on a target: these learning rates, the whole image."""
    usual = {
        "protocol": "quick",
        "weight_decays": [0.0],
        "side": 32,
        "crop_area": [0.5, 1.0],
        "flip": False,
        "crops": ["full"],
    }
    return {**usual, "learning_rates": list(rates), **options}


# Several families, widths and depths, so that accuracies differ.
NETWORKS = tuple(
    f"small:{name}"
    for name in (
        "resnet10_w4", "resnet10_w8", "resnet10_w16", "resnet18_w16", "seresnet10_w16",
        "densenet22_g4", "densenet22_g8", "densenet22_g16", "mobilenet_w8", "mobilenet_w16",
        "vgg6_w8", "vgg6_w16", "inception_w8", "inception_w16",
    )
)  # fmt: skip
FULL = ChainScale(
    name="miniature",
    networks=NETWORKS,
    upstream="characters",
    pretraining={
        "steps": 4000,
        "batch_size": 32,
        "learning_rate": 0.05,
        "weight_decay": 5e-4,
        "side": 32,
        "crop_area": (0.8, 1.0),
        "flip": False,
        "view": "full",
    },
    targets={
        "digits": None,
        "fashion_mnist": 2000,
        "shapes": None,
        "textures": None,
        "patches": None,
        "charts": None,
    },
    settings=(
        {"name": "linear"},
        {"name": "finetune", **_training((0.003, 0.03, 0.3), steps=100, batch_size=32)},
        {"name": "scratch", **_training((0.01, 0.1, 1.0), steps=100, batch_size=32)},
    ),
    ablated=("small:inception_w8", "small:inception_w16"),
    ablation_settings=("linear", "finetune"),
    convergence_model="small:resnet10_w16",
    curve_targets=("digits", "textures"),
    curve_steps={
        "finetune": (12, 25, 50, 100, 200, 400),
        "scratch": (12, 25, 50, 100, 200, 400, 800),
    },
    size_model="small:resnet10_w16",
    size_targets=("digits", "textures"),
    examples_per_class=(1, 4, 16, 64),
    seeds=(0, 1, 2),
    embed_dataset="digits",
    classes=10,
)
# A smoke test of every part in minutes: its results are not meaningful.
TINY = replace(
    FULL,
    name="miniature-tiny",
    networks=(*NETWORKS[1:3], "small:vgg6_w8", "small:inception_w8"),
    pretraining={**FULL.pretraining, "steps": 60},
    targets={"digits": 320, "shapes": 320},
    settings=(
        {"name": "linear"},
        {"name": "finetune", **_training((0.03,), steps=10, batch_size=32)},
        {"name": "scratch", **_training((0.1,), steps=10, batch_size=32)},
    ),
    ablated=("small:inception_w8",),
    convergence_model="small:resnet10_w8",
    curve_targets=("digits",),
    curve_steps={"finetune": (5, 10, 20), "scratch": (5, 10, 20)},
    size_model="small:resnet10_w8",
    size_targets=("digits",),
    examples_per_class=(1, 4),
    seeds=(0, 1),
    upstream_limit=2000,
)


class TimingLog:
    """Seconds of each stage in a JSON file, including those of earlier runs.

    The file is read if it exists, and written after each stage, even an interrupted one. `facts`
    are additional entries: the command, the scale, the device.

    Raises
    ------
    StorageError
        The file exists and is not a timing log.
    """

    def __init__(self, file: Path, facts: dict[str, Any]) -> None:
        self._file = file
        self._facts = {**facts, "processors": os.cpu_count(), "platform": platform.platform()}
        self.seconds: dict[str, float] = {}
        if file.exists():
            with storage_errors(file, reading=True):
                text = file.read_text(encoding="utf-8")
            try:
                self.seconds = {name: float(s) for name, s in json.loads(text)["seconds"].items()}
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise StorageError(
                    f"timing log {file} is damaged ({type(error).__name__}): remove it; what was "
                    "measured is in the store",
                    code="miniature.timing_damaged",
                    path=str(file),
                ) from error

    @property
    def total(self) -> float:
        """Total seconds of all stages."""
        return sum(self.seconds.values())

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as part of a stage."""
        began = monotonic()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + monotonic() - began
            rounded = {name: round(seconds, 1) for name, seconds in self.seconds.items()}
            content = {**self._facts, "seconds": rounded, "minutes": round(self.total / 60, 1)}
            text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
            with replaced(self._file) as temporary:
                temporary.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Miniature:
    """Outcome of a run of the miniature.

    The next run tries `failures` again.
    """

    store: ResultStore
    failures: tuple[Result, ...]
    timing_log: TimingLog


def run_miniature(
    scale: ChainScale,
    out: Path,
    context: RunContext,
    executor: Executor | None = None,
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> Miniature:
    """Run the miniature part by part, without the trials that are already stored.

    Results and the timing log (with `facts` as additional entries) are written to the folder `out`;
    the cache of `context` holds networks and images. The executor runs networks and trials in
    parallel; by default they run one by one in this process.

    Raises
    ------
    HeadstartError
        A network cannot be pretrained, disk space is too small, or the device is missing.
    """
    store = ResultStore(writable_folder(out) / DATABASE_NAME, create=True)
    timing_log = TimingLog(out / "miniature.json", {"scale": scale.name, **facts})
    part = partial(_part, timing_log, context)
    with part("pretraining") as own:
        jobs = to_pretrain(scale, own)
        for _, outcome in pretrain_all(jobs, own, executor):
            if isinstance(outcome, HeadstartError):
                raise outcome
    failures: list[Result] = []
    for name, fields_of in STUDIES.items():
        with part(name) as own:
            trials = _trials(scale, fields_of(scale, jobs), own.reporter)
            if name == ABLATION:
                # The store's order is that of configurations in reports: run these in order.
                cell = trials[0].dataset, trials[0].setting
                first = [trial for trial in trials if (trial.dataset, trial.setting) == cell]
                run_study(first, store, own)
            run = run_study(trials, store, own, executor)
            failures += run.failures
    return Miniature(store, tuple(failures), timing_log)


def _trials(
    scale: ChainScale, fields: Mapping[str, Any], reporter: ProgressReporter
) -> list[Trial]:
    """Expand a study into trials, with the limit of each dataset."""
    by_limit: dict[int | None, list[str]] = {}
    for name in fields["datasets"]:
        by_limit.setdefault(scale.targets[name], []).append(name)
    studies = [
        Study(**{**fields, "datasets": names, "limit": limit}) for limit, names in by_limit.items()
    ]
    return [trial for study in studies for trial in study.trials(reporter)]


def to_pretrain(scale: ChainScale, context: RunContext) -> list[PretrainJob]:
    """Return the jobs of the main study, then those of the ablation."""

    def recipe(arch: str, seed: int) -> Recipe:
        return make_recipe(
            arch,
            scale.upstream,
            limit=scale.upstream_limit,
            reporter=context.reporter,
            seed=seed,
            **scale.pretraining,
        )

    mains = [
        PretrainJob(recipe(arch, MAIN_SEED), scale.name_of(arch), short(arch))
        for arch in scale.networks
    ]
    others = [
        PretrainJob(of, scale.name_of(arch, configuration), short(arch), configuration)
        for arch in scale.ablated
        for configuration, of in possible(
            configurations(recipe(arch, ABLATION_SEED)), context
        ).items()
    ]
    return mains + others


def _main_study(scale: ChainScale, jobs: Sequence[PretrainJob]) -> dict[str, Any]:
    models = [one.found_by for one in jobs if one.configuration is None]
    return {"models": models, "datasets": tuple(scale.targets), "settings": scale.settings}


def _ablation(scale: ChainScale, jobs: Sequence[PretrainJob]) -> dict[str, Any]:
    models = [one.found_by for one in jobs if one.configuration is not None]
    chosen = [scale.setting(name) for name in scale.ablation_settings]
    return {"models": models, "datasets": tuple(scale.targets), "settings": chosen}


def _convergence(scale: ChainScale, _: Sequence[PretrainJob]) -> dict[str, Any]:
    model = f"pretrained:{scale.name_of(scale.convergence_model)}"
    curves = [scale.setting(name, steps=list(steps)) for name, steps in scale.curve_steps.items()]
    return {"models": [model], "datasets": scale.curve_targets, "settings": curves}


def _dataset_size(scale: ChainScale, _: Sequence[PretrainJob]) -> dict[str, Any]:
    model = f"pretrained:{scale.name_of(scale.size_model)}"
    swept = {"examples_per_class": scale.examples_per_class, "seeds": scale.seeds}
    study = {"models": [model], "datasets": scale.size_targets, "settings": scale.settings}
    return {**study, **swept}


STUDIES: dict[str, Callable[[ChainScale, Sequence[PretrainJob]], dict[str, Any]]] = {
    "transfer": _main_study,
    ABLATION: _ablation,
    "convergence": _convergence,
    "dataset size": _dataset_size,
}
STAGES = ("pretraining", *STUDIES)


@contextmanager
def _part(timing_log: TimingLog, context: RunContext, name: str) -> Iterator[RunContext]:
    """Measure the time of a part; its context has a reporter of its own."""
    reporter = context.reporter.trial_started(name, STAGES.index(name) + 1, len(STAGES))
    with timing_log.stage(name):
        yield replace(context, reporter=reporter)
    reporter.trial_finished()
