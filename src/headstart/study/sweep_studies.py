"""Studies of Kornblith et al. (2019) that vary one factor, for any models and datasets.

Convergence (their Fig. 8): accuracy after a number of steps. Every number of steps is a run of its
own, with its own grid and cosine schedule, not a checkpoint of a longer one. Dataset size (Fig. 9):
accuracy from a number of images per class, over random subsets that are nested in each other.
Ablation of regularizers (Figs. 3 and 5): an upstream classifier is trained five times, without the
scales of batch norms, with label smoothing, dropout and an auxiliary classifier; then with scales;
then without each of the others in turn. Every network is then transferred in the same way.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from headstart import methods
from headstart.context import RunContext
from headstart.errors import HeadstartError, ModelError, StudyError, UnknownNameError
from headstart.executors import Executor, executor_of
from headstart.pretraining import (
    Pretrained,
    PretrainJob,
    begin,
    check,
    default_name,
    make_recipe,
    pretrain_all,
)
from headstart.spec import Recipe
from headstart.store import ResultStore
from headstart.study.run import StudyRun
from headstart.study.study import Study, setting_options

__all__ = [
    "CONFIGURATIONS",
    "SWEEPS",
    "Ablation",
    "ablate",
    "configurations",
    "possible",
    "sweep_study",
]

# The most steps of a network that starts from random weights; the others are halves of it.
MOST_STEPS = 78_125
HALVINGS = 10
FEWEST_STEPS = 5
# A network that starts from pretrained weights is trained for a quarter of that at most.
LONGER_FROM_SCRATCH = 2
# From 1 image a class; each dataset takes those that its smallest class has.
SIZES = tuple(2**i for i in range(17))
SUBSETS = (0, 1, 2)

Fields = Mapping[str, Any]
# Those of the paper's figure 9.
PAPER_SETTINGS = ("linear", "finetune", "scratch")


def sweep_study(name: str, fields: Fields) -> Study:
    """Make a further study.

    Parameters
    ----------
    name
        ``"convergence"`` or ``"dataset-size"``.
    fields
        Those of a `Study`; what they leave open the study chooses: its settings, its numbers of
        steps or of images per class, its seeds.

    Raises
    ------
    UnknownNameError, StudyError

    Examples
    --------
    >>> fields = {"models": ["efficientnet_lite0"], "datasets": ["digits"]}
    >>> study = sweep_study("dataset-size", fields)
    >>> [trial.dataset.examples_per_class for trial in study.trials() if trial.seed == 0][::3]
    [1, 2, 4, 8, 16, 32, 64]
    """
    if name not in SWEEPS:
        raise UnknownNameError("study", name, SWEEPS)
    return Study(**SWEEPS[name](fields))


def convergence(fields: Fields) -> dict[str, Any]:
    """Return each setting that trains its numbers of steps, unless there are some for all."""
    chosen = fields.get("settings", ("finetune", "scratch"))
    if not fields.get("steps"):
        chosen = [_with_steps(setting) for setting in chosen]
    return {**fields, "settings": chosen}


def dataset_size(fields: Fields) -> dict[str, Any]:
    """Study every power of two, three subsets each, in all settings."""
    usual = {"settings": PAPER_SETTINGS, "examples_per_class": SIZES, "seeds": SUBSETS}
    return {**usual, **fields}


SWEEPS: Mapping[str, Callable[[Fields], dict[str, Any]]] = MappingProxyType(
    {"convergence": convergence, "dataset-size": dataset_size}
)


def _with_steps(setting: str | dict[str, Any]) -> str | dict[str, Any]:
    """Add the numbers of steps, unless the setting has its own, or does not train."""
    options = setting_options(setting)
    if "steps" in options or "name" not in options:
        return setting
    found = methods.find(**options)
    if found.grid is None:
        return setting
    # Halves of the most steps of the study, or for a shorter protocol of four times its own.
    most = min(MOST_STEPS, 4 * found.grid.final_steps)
    steps = [most >> i for i in range(HALVINGS + 1) if most >> i >= FEWEST_STEPS]
    return {**options, "steps": steps[LONGER_FROM_SCRATCH * found.pretrained :][::-1]}


# Of the networks that the paper ablates; TF-slim keeps 0.8 before the classifier.
LABEL_SMOOTHING, DROPOUT = 0.1, 0.2
# In the paper's order, under the names of its digitised table: which regularizers are on.
CONFIGURATIONS: Mapping[str, Mapping[str, bool]] = MappingProxyType(
    {
        "S1: -BN scale +label smoothing +dropout (+aux head)": {
            "bn_scale": False, "label_smoothing": True, "dropout": True, "aux_head": True,
        },
        "S2: +BN scale +label smoothing +dropout (+aux head)": {
            "bn_scale": True, "label_smoothing": True, "dropout": True, "aux_head": True,
        },
        "S3: +BN scale -label smoothing +dropout (+aux head)": {
            "bn_scale": True, "label_smoothing": False, "dropout": True, "aux_head": True,
        },
        "S4: +BN scale -label smoothing -dropout (+aux head)": {
            "bn_scale": True, "label_smoothing": False, "dropout": False, "aux_head": True,
        },
        "S5: +BN scale -label smoothing -dropout -aux head": {
            "bn_scale": True, "label_smoothing": False, "dropout": False, "aux_head": False,
        },
    }
)  # fmt: skip


@dataclass(frozen=True)
class Ablation:
    """What came of an ablation.

    Parameters
    ----------
    pretrained
        Of each architecture and configuration that could be trained, in this order.
    failures
        What could not be trained, in words -> why.
    run
        The transfer of those that could; None if there are none.
    """

    pretrained: tuple[Pretrained, ...]
    failures: Mapping[str, str]
    run: StudyRun | None


def configurations(
    recipe: Recipe, *, label_smoothing: float = LABEL_SMOOTHING, dropout: float = DROPOUT
) -> dict[str, Recipe]:
    """Return the five recipes of the paper, by the names of their configurations.

    Parameters
    ----------
    recipe
        All else of them; its own switches do not count.
    label_smoothing, dropout
        Where they are on.

    Raises
    ------
    StudyError
        Nothing to switch off: label smoothing or dropout is 0.

    Examples
    --------
    >>> [name.partition(":")[0] for name in CONFIGURATIONS]
    ['S1', 'S2', 'S3', 'S4', 'S5']
    """
    strengths = {"label_smoothing": label_smoothing, "dropout": dropout}
    for name, strength in strengths.items():
        if not 0 < strength < 1:
            raise StudyError(
                f"--{name.replace('_', '-')} {strength:g}: an ablation switches it on and off: "
                "expected more than 0 and less than 1",
                code="ablation.strength",
                name=name,
                value=strength,
            )
    return {
        name: recipe.replace(
            **{
                switch: on * strengths[switch] if switch in strengths else on
                for switch, on in switches.items()
            }
        )
        for name, switches in CONFIGURATIONS.items()
    }


def different(
    recipes: Mapping[str, Recipe], *, batch_norm: bool, auxiliary: bool
) -> dict[str, Recipe]:
    """Leave out what an architecture cannot tell from another configuration.

    That is one without batch norms, or without auxiliary classifiers.
    """
    found: dict[str, Recipe] = {}
    for name, recipe in recipes.items():
        possible = recipe if auxiliary else recipe.replace(aux_head=False)
        if possible not in found.values() and (batch_norm or possible.bn_scale):
            found[name] = possible
    return found


def ablate(
    study: Study,
    dataset: str,
    store: Path | str,
    context: RunContext,
    *,
    label_smoothing: float = LABEL_SMOOTHING,
    dropout: float = DROPOUT,
    workers: int = 0,
    executor: str | None = None,
    executor_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Ablation:
    """Pretrain architectures in all configurations, and transfer each of them.

    What is there already is not done again; what was interrupted goes on.

    Parameters
    ----------
    study
        Its models are the architectures; what comes of them is transferred as it says. Its limit,
        precision and `skip_broken` hold upstream too.
    dataset
        What is trained on.
    store
        Of the results, as `Study.run` takes it.
    label_smoothing, dropout
        Where they are on.
    workers, executor, executor_options
        As in `Study.run`, for pretraining, too. The order of results is the same.
    options
        Of all recipes, as `pretraining.make_recipe` takes them.

    Raises
    ------
    HeadstartError
        What can be found before anything is trained. A run that fails later does not stop the
        others: it is in `failures`.
    """
    # Before hours of training.
    ResultStore(store, create=True).check_place()
    study.trials(context.reporter)
    strengths = {"label_smoothing": label_smoothing, "dropout": dropout}
    common = study.model_dump(include={"limit", "precision", "skip_broken"})
    jobs: list[PretrainJob] = []
    for arch in dict.fromkeys(study.models):
        recipe = make_recipe(arch, dataset, reporter=context.reporter, **common, **options)
        # In results all have the name of the architecture.
        for name, one in possible(configurations(recipe, **strengths), context).items():
            jobs.append(PretrainJob(one, default_name(one), one.model.name, name))
    own = {**(executor_options or {}), "note": context.reporter.note}
    with executor_of(workers, context.device, executor, **own) as opened:
        done, failures = _pretrained(jobs, context, opened)
    if not done:
        return Ablation((), failures, None)
    transfer = study.model_copy(update={"models": tuple(each.name for each in done)})
    where: Any = {"device": context.device, "reporter": context.reporter, "trust": context.trust}
    engine: Any = {"executor": executor, "executor_options": executor_options}
    run = transfer.run(store, **where, workers=workers, **engine)
    return Ablation(done, failures, run)


def _pretrained(
    jobs: Sequence[PretrainJob], context: RunContext, executor: Executor | None
) -> tuple[tuple[Pretrained, ...], dict[str, str]]:
    """Pretrain what can be; give that, and why the others failed, both in the order asked for."""
    outcomes: dict[str, Pretrained | HeadstartError] = {}
    for one, outcome in pretrain_all(jobs, context, executor):
        outcomes[one.name] = outcome
        if isinstance(outcome, HeadstartError):
            context.reporter.note(f"{one.said}: failed: {outcome}")
    # Who ended first must not show: the order of configurations is that of the store.
    ordered = [(one.said, outcomes[one.name]) for one in jobs]
    done = tuple(found for _, found in ordered if isinstance(found, Pretrained))
    failures = {said: str(why) for said, why in ordered if isinstance(why, HeadstartError)}
    return done, failures


def possible(recipes: Mapping[str, Recipe], context: RunContext) -> dict[str, Recipe]:
    """Leave out the configurations that an architecture cannot have, and say so.

    Raises
    ------
    HeadstartError
        The architecture cannot be built, or the data are not there.
    """
    *_, plain = recipes.values()
    check(plain, context)
    has = {
        "batch norm": _takes(plain.replace(bn_scale=False), context),
        "auxiliary classifier": _takes(plain.replace(aux_head=True), context),
    }
    left = different(recipes, batch_norm=has["batch norm"], auxiliary=has["auxiliary classifier"])
    if len(left) < len(recipes):
        missing = " and ".join(name.partition(":")[0] for name in recipes if name not in left)
        lacking = " and no ".join(name for name, there in has.items() if not there)
        context.reporter.note(
            f"{plain.model.name} has no {lacking}: configuration {missing} is the same as the one "
            "beside it, which is measured once"
        )
    return left


def _takes(recipe: Recipe, context: RunContext) -> bool:
    """Whether an architecture, which can be built, has what the recipe switches."""
    try:
        begin(recipe, context)
    except ModelError:
        return False
    return True
