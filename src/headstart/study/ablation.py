"""The ablation of regularizers (Kornblith et al. 2019, Figs. 3 and 5), on networks trained here.

An upstream classifier is trained five times: without the scales of batch norms, with label
smoothing, dropout and an auxiliary classifier; then with scales; then without each of the others in
turn. Every network is then transferred in the same way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from headstart.context import RunContext
from headstart.errors import HeadstartError, ModelError, StudyError
from headstart.executors import executor_of
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
from headstart.study.run import StudyRun
from headstart.study.study import Study

__all__ = ["CONFIGURATIONS", "Ablation", "ablate", "configurations", "possible"]

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
    recipe: Recipe,
    *,
    label_smoothing: float = LABEL_SMOOTHING,
    dropout: float = DROPOUT,
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

    Parameters
    ----------
    recipes
        As `configurations` gives them.
    batch_norm, auxiliary
        Whether it has batch norms, and auxiliary classifiers.
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
    context
        Where and how.
    label_smoothing, dropout
        Where they are on.
    workers, executor
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
    study.trials(context.reporter)
    strengths = {"label_smoothing": label_smoothing, "dropout": dropout}
    common = study.model_dump(include={"limit", "precision", "skip_broken"})
    jobs: list[PretrainJob] = []
    for arch in dict.fromkeys(study.models):
        recipe = make_recipe(arch, dataset, reporter=context.reporter, **common, **options)
        jobs += _to_pretrain(configurations(recipe, **strengths), context)
    done, failures = _pretrained(jobs, context, workers, executor)
    if not done:
        return Ablation((), failures, None)
    transfer = study.model_copy(update={"models": tuple(each.name for each in done)})
    where: Any = {"device": context.device, "reporter": context.reporter, "trust": context.trust}
    run = transfer.run(store, **where, workers=workers, executor=executor)
    return Ablation(done, failures, run)


def _to_pretrain(recipes: Mapping[str, Recipe], context: RunContext) -> list[PretrainJob]:
    """Ask for the configurations of one architecture: in results all have its name."""
    return [
        PretrainJob(recipe, default_name(recipe), recipe.model.name, configuration)
        for configuration, recipe in possible(recipes, context).items()
    ]


def _pretrained(
    jobs: Sequence[PretrainJob], context: RunContext, workers: int, name: str | None
) -> tuple[tuple[Pretrained, ...], dict[str, str]]:
    """Pretrain what can be; give that, and why the others failed, both in the order asked for."""
    outcomes: dict[str, Pretrained | HeadstartError] = {}
    with executor_of(workers, context.device, name) as executor:
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

    Parameters
    ----------
    recipes
        As `configurations` gives them.
    context
        Its reporter is informed.

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
