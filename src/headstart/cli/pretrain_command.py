"""`headstart pretrain` and `ablate`: train, register, transfer, show."""

import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.options import (
    BAD_INPUT,
    DEFAULT_STORE,
    ExecutorOptions,
    SeedsOption,
    SettingsOption,
    StoreOption,
    TrainingOptions,
)
from headstart.cli.output import console, echo

if TYPE_CHECKING:
    from headstart.pretraining import Pretrained

__all__ = ["ablate", "pretrain"]


@dataclass(frozen=True)
class _RegularizerOptions:
    """Regularizers of pretraining that are on or off in an ablation."""

    no_bn_scale: Annotated[
        bool, typer.Option("--no-bn-scale", help="Fix the scale parameters of batch norm at 1.")
    ] = False
    label_smoothing: Annotated[
        float,
        typer.Option(help="Label smoothing: proportion spread over all classes.", metavar="NUMBER"),
    ] = 0.0
    dropout: Annotated[
        float, typer.Option(help="Dropout rate before the classifier.", metavar="NUMBER")
    ] = 0.0
    aux_head: Annotated[
        bool,
        typer.Option("--aux-head", help="Train the auxiliary classifiers of the architecture."),
    ] = False

    def recipe(self) -> dict[str, Any]:
        """Return the fields of a recipe."""
        names = ("label_smoothing", "dropout", "aux_head")
        return {**{name: getattr(self, name) for name in names}, "bn_scale": not self.no_bn_scale}


def pretrain(
    arch: Annotated[
        str,
        typer.Option(
            help="Architecture of any installed library, for example timm:resnet18?size=32.",
            metavar="NAME",
        ),
    ],
    dataset: Annotated[str, typer.Option(help="Dataset with one label per image.", metavar="NAME")],
    training: TrainingOptions,
    regularizers: _RegularizerOptions,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the model, then used as pretrained:NAME (default: architecture, dataset "
            "and a digest of the recipe).",
            metavar="NAME",
        ),
    ] = None,
    configuration: Annotated[
        str | None,
        typer.Option(
            help="Label of this training recipe; analyses then compare recipes of one "
            "architecture.",
            metavar="TEXT",
        ),
    ] = None,
) -> None:
    """Pretrain a classifier from random weights, and register it as a model.

    A registered model is not trained again; an interrupted run resumes. On several GPUs:
    torchrun --nproc-per-node 8 -m headstart pretrain ...
    """
    from headstart.cli.progress import watched
    from headstart.context import ProgressReporter, RunContext
    from headstart.pretraining import make_recipe
    from headstart.pretraining import pretrain as pretrain_network
    from headstart.training.ranks import Ranks

    start, ranks = time.perf_counter(), Ranks.from_environment()
    options = {**training.recipe(), **training.data(), **regularizers.recipe()}
    with watched("run the same command again to resume from the last checkpoint") as live:
        # Of several processes the first one speaks.
        reporter = live if ranks is None or ranks.first else ProgressReporter()
        recipe = make_recipe(arch, dataset, reporter=reporter, **options)
        title = f"pretraining {recipe.model.name} on {recipe.dataset.name}"
        reporter = reporter.trial_started(title, 1, 1)
        found = pretrain_network(
            recipe,
            RunContext(device=training.device, reporter=reporter),
            name=name,
            title=recipe.model.name if configuration else None,
            configuration=configuration,
            ranks=ranks,
        )
        reporter.trial_finished()
    if found:
        _show(found, time.perf_counter() - start)


@dataclass(frozen=True)
class _AblationOptions:
    """What is pretrained in an ablation, and transferred to."""

    arch: Annotated[str, typer.Option(help="Architectures, separated by commas.", metavar="NAMES")]
    dataset: Annotated[str, typer.Option(help="Dataset for pretraining.", metavar="NAME")]
    transfer: Annotated[
        str, typer.Option(help="Datasets to transfer to, separated by commas.", metavar="NAMES")
    ]
    settings: SettingsOption = None
    seeds: SeedsOption = None
    store: StoreOption = DEFAULT_STORE
    label_smoothing: Annotated[
        float,
        typer.Option(
            help="Label smoothing where it is on: proportion spread over all classes.",
            metavar="NUMBER",
        ),
    ] = 0.1
    dropout: Annotated[
        float,
        typer.Option(help="Dropout rate before the classifier, where it is on.", metavar="NUMBER"),
    ] = 0.2

    def keys(self) -> dict[str, Any]:
        """Return the keys of the study of what is pretrained."""
        return {"models": self.arch, "datasets": self.transfer, "settings": self.settings,
                "seeds": self.seeds}  # fmt: skip


def ablate(
    options: _AblationOptions, training: TrainingOptions, executors: ExecutorOptions
) -> None:
    """Pretrain with and without each regularizer, and compare the transfer accuracy.

    Five configurations in the order of Kornblith et al. (2019): with label smoothing, dropout and
    auxiliary classifier, without batch-norm scale parameters; with them; without each of the others
    in turn. Run the same command again to resume.
    """
    from headstart.analysis import analyze
    from headstart.cli import analysis_tables
    from headstart.cli.progress import watched
    from headstart.cli.run_command import read_study, show_run
    from headstart.context import RunContext
    from headstart.study import ablate as run_ablation

    start = time.perf_counter()
    study, _ = read_study(None, options.keys() | training.data())
    strengths: dict[str, Any] = {
        "label_smoothing": options.label_smoothing,
        "dropout": options.dropout,
    }
    with watched("run the same command again to resume") as reporter:
        found = run_ablation(
            study,
            options.dataset,
            options.store,
            RunContext(device=training.device, reporter=reporter),
            **training.recipe(),
            **strengths,
            **executors.keywords(),
        )
    for title, error in found.failures.items():
        echo(f"error: {title}: {error}", err=True)
    if found.run:
        show_run(found.run, time.perf_counter() - start)
    if found.run and found.run.results:
        for part in analysis_tables.ablation(analyze(options.store)):
            console.print(part)
        echo(f"headstart analyze {options.store} --out FOLDER draws the figure")
    if found.failures or (found.run and found.run.failures):
        sys.exit(BAD_INPUT)


def _show(found: "Pretrained", seconds: float) -> None:
    """State what was reached with its interval, and what may be done with it."""
    from headstart.stats import wilson_interval

    interval = wilson_interval(found.accuracy, found.n_test)
    done = f"pretrained in {seconds:.1f} s" if found.fresh else "pretrained before"
    # Not through the console, which would break a long name.
    echo(
        f"{found.name}: {100 * found.accuracy:.2f} % top-1 of {found.n_test:,} test images of "
        f"{found.facts['recipe']['dataset']['name']} (95 %: {100 * interval.low:.1f} to "
        f"{100 * interval.high:.1f}); {done}"
    )
    if not found.model.upstream:
        echo("not kept as upstream accuracy, none or all of the images right")
    echo(f"headstart run --models {found.name} --datasets NAME")
