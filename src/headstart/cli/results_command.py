"""`headstart results` and `store`: what a store holds; stores checked, copied and put together."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.command_group import HELP, CommandGroup, command, group
from headstart.cli.options import (
    BAD_INPUT,
    DEFAULT_STORE,
    CsvFlag,
    JsonFlag,
    StoreOption,
    refuse_password,
)
from headstart.cli.output import console, echo, one_form, print_json
from headstart.errors import CommandError, HeadstartError, StorageError

if TYPE_CHECKING:
    from headstart.deploy.result_details import ResultDetails
    from headstart.report.image_pages import MistakePicture
    from headstart.spec import Prediction
    from headstart.store import Page, ResultStore, Tried
    from headstart.store.exchange import MergeReport

__all__ = ["results_app", "store_app"]

# Rows of each table of one trial; the page has all.
MOST = 10
KEY_DIGITS = 12

results_app = typer.Typer(cls=CommandGroup, context_settings=HELP)
store_app = typer.Typer(cls=CommandGroup, context_settings=HELP, no_args_is_help=True)


def _filter(noun: str) -> Any:
    """Return the option that keeps results of some models, datasets or settings."""
    return typer.Option(
        f"--{noun}s",
        f"--{noun}",
        help=f"Only these {noun}s: names or patterns (NAME*), separated by commas.",
        metavar="NAMES",
        show_default=False,
    )


@dataclass(frozen=True)
class _Filters:
    """Which results are shown, in which order."""

    models: Annotated[str | None, _filter("model")] = None
    datasets: Annotated[str | None, _filter("dataset")] = None
    settings: Annotated[str | None, _filter("setting")] = None
    sort: Annotated[
        str | None,
        typer.Option(
            help="Column to sort by (model, dataset, setting, seed, metric, accuracy, n_test, "
            "created_at), with :desc in decreasing order; in the order of storing if omitted.",
            metavar="COLUMN[:desc]",
            show_default=False,
        ),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option(
            help="Maximum number of results; all if omitted.",
            min=1,
            metavar="INTEGER",
            show_default=False,
        ),
    ] = None
    offset: Annotated[
        int, typer.Option(help="Number of results to skip.", min=0, metavar="INTEGER")
    ] = 0
    all_: Annotated[
        bool, typer.Option("--all", help="Superseded results, too; they are marked as such.")
    ] = False

    def page(self) -> "Page":
        """Return what the filters ask of a store."""
        from headstart.store import Page

        def names(given: str | None) -> tuple[str, ...]:
            return tuple(name.strip() for name in (given or "").split(",") if name.strip())

        column, _, order = (self.sort or "").partition(":")
        if order not in ("", "asc", "desc"):
            raise CommandError(
                f"invalid --sort {self.sort}: expected COLUMN, COLUMN:asc or COLUMN:desc",
                code="command.value",
                name="--sort",
                value=self.sort,
            )
        return Page(
            models=names(self.models),
            datasets=names(self.datasets),
            settings=names(self.settings),
            sort=column,
            descending=order == "desc",
            limit=self.limit,
            offset=self.offset,
        )


@group(results_app)
def results(
    context: typer.Context,
    filters: _Filters,
    store: StoreOption = DEFAULT_STORE,
    csv: CsvFlag = False,
    json: JsonFlag = False,
) -> None:
    """Show the results in a store: all, or filtered, sorted, and page by page."""
    if context.invoked_subcommand is not None:
        if csv or json or store != DEFAULT_STORE or filters != _Filters():
            raise CommandError(
                "options of `headstart results` must follow the subcommand: headstart results "
                "show --store FILE",
                code="command.order",
            )
        return
    one_form(csv=csv, json=json)
    from headstart.cli import results_tables
    from headstart.store import Page, ResultStore, result_row, results_table, under_way

    opened, page, superseded = ResultStore(store), filters.page(), filters.all_
    marked = (
        opened.with_superseded(page)
        if superseded
        else [(one, False) for one in opened.results(page=page)]
    )
    found, old = [one for one, _ in marked], [is_old for _, is_old in marked]
    if csv:
        from headstart.report.reporter import to_csv

        table = results_table(found)
        echo(to_csv(table.assign(superseded=old) if superseded else table), nl=False)
    elif json:
        rows = [result_row(result) for result in found]
        if superseded:
            rows = [row | {"superseded": is_old} for row, is_old in zip(rows, old, strict=True)]
        print_json(rows)
    else:
        console.print(results_tables.results(found, old))
        if page != Page():
            console.print(f"{len(found):,} of {opened.count():,} results")
            return
        for one in under_way(opened):
            console.print(f"under way: {results_tables.under_way_line(one)}")


@command(results_app)
def show(
    trial: Annotated[
        list[str] | None,
        typer.Argument(
            help="Trials: a key, the start of one, or words of the title (resnet50 dtd finetune); "
            "all if omitted.",
            metavar="TRIAL...",
            show_default=False,
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Page (HTML) of one trial: all of this, calibration and the confusion matrix.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        bool,
        typer.Option("--images", help="Small copies of the most confident mistakes on the page."),
    ] = False,
    csv: CsvFlag = False,
    json: JsonFlag = False,
) -> None:
    """Show what a trial tried, selected and reached; of one trial also where it errs.

    Per class, by confusions, and the most confident mistakes; with --out as a page.
    """
    one_form(csv=csv, json=json)
    if images and out is None:
        raise CommandError(
            "--images is for the page of a trial: pass --out FILE, too",
            code="command.conflict",
            option="--images",
        )
    from headstart.store import ResultStore, tried

    opened = ResultStore(store)
    found = tried(opened, trial or [])
    _show_trials(opened, found, csv=csv, json=json, details=bool(trial))
    if out is not None and not trial:
        raise CommandError(
            "argument TRIAL is missing: a page is of one trial; `headstart results --csv` has the "
            "keys",
            code="command.missing",
            name="TRIAL",
        )
    if out is not None or (trial and not csv and not json):
        _show_details(opened, found[0], out, images=images, silent=csv or json)


def _show_trials(
    store: "ResultStore", found: "Sequence[Tried]", *, csv: bool, json: bool, details: bool
) -> None:
    """Print what trials tried, chose and reached; of one trial with details, where it errs, too."""
    from headstart.cli import results_tables
    from headstart.deploy.result_details import tie_warning

    if csv:
        import pandas as pd

        from headstart.report.reporter import to_csv

        rows = [row for one in found for row in results_tables.grid(one)]
        echo(to_csv(pd.DataFrame(rows)), nl=False)
    elif json:
        more = _details_record(store, found[0]) if details else {}
        print_json([{**results_tables.record(one), **more} for one in found])
    else:
        for number, one in enumerate(found):
            if number:
                console.print()
            console.print(results_tables.shown(one))
            if one.result and (warning := tie_warning(one.result)):
                console.print(warning)
        if not found:
            console.print("no results yet")


def _show_details(
    store: "ResultStore", found: "Tried", out: Path | None, *, images: bool, silent: bool
) -> None:
    """Print where one trial errs, or write its page."""
    from headstart.cli.terminal_tables import table_parts
    from headstart.deploy.result_details import details_of
    from headstart.report import image_pages

    if found.result is None:
        if out is not None:
            raise CommandError(
                f"trial {found.key[:12]} has no result yet: run its study again to finish it",
                code="results.unfinished",
                key=found.key,
            )
        return
    try:
        predictions = store.predictions(found.key)
    except StorageError as error:
        # The table above is of use without them.
        if out is not None:
            raise
        console.print(f"per-class results are missing: {error}")
        return
    details = details_of(found.result, predictions)
    mistakes = _mistakes(details, predictions, images=images)
    if not silent:
        for table in (
            image_pages.class_table(details),
            image_pages.confusion_table(details),
            image_pages.mistake_table(details, mistakes),
        ):
            for line in table_parts(table, most=MOST):
                console.print(line)
    if out is not None:
        from headstart.report.page_templates import write_html

        page = write_html(image_pages.cell_html(details, mistakes), out)
        echo(f"Page: {page.resolve()}", err=silent)


def _mistakes(
    details: "ResultDetails", predictions: "Prediction", *, images: bool
) -> "list[MistakePicture]":
    """Return the most confident mistakes with the names of their files, and small copies if asked.

    Where the images are not at hand, they are named by their number in the test split; who asks
    for copies gets the error.
    """
    from headstart.context import RunContext
    from headstart.datasets.images import small_picture
    from headstart.deploy.runners import tested_images
    from headstart.report.image_pages import MistakePicture
    from headstart.spec.formatting import SmallPicture

    plain = [
        MistakePicture(one, SmallPicture(f"example {one.example}")) for one in details.mistakes
    ]
    if not plain:
        return []
    try:
        tested = tested_images(details.result, predictions, RunContext())
    except HeadstartError:
        if images:
            raise
        return plain
    return [
        MistakePicture(
            one,
            small_picture(tested, one.row) if images else SmallPicture(tested.where(one.row)),
        )
        for one in details.mistakes
    ]


def _details_record(store: "ResultStore", found: "Tried") -> dict[str, Any]:
    """Return where one trial errs, as JSON; nothing without a result or its predictions."""
    from headstart.deploy.result_details import details_of

    if found.result is None or found.key not in store.with_predictions():
        return {}
    details = details_of(found.result, store.predictions(found.key))
    return {
        "classes": [asdict(one) for one in details.per_class],
        "confusions": [asdict(one) for one in details.confused],
        "calibration": [one._asdict() for one in details.calibration],
        "mistakes": [asdict(one) for one in details.mistakes],
    }


StoreArgument = Annotated[
    str,
    typer.Argument(
        help="Results database: a file, the folder that holds it, or a URL.",
        metavar="STORE",
        callback=refuse_password,
        show_default=False,
    ),
]


@group(store_app)
def store() -> None:
    """Check, copy and merge stores; supersede results."""


@command(store_app)
def check(store: StoreOption = DEFAULT_STORE, json: JsonFlag = False) -> None:
    """Check that all records and predictions are there and sound; list what is not."""
    from headstart.store import ResultStore
    from headstart.store.exchange import check_store

    opened = ResultStore(store)
    found = list(check_store(opened))
    if json:
        print_json([asdict(problem) for problem in found])
    else:
        if found:
            from headstart.cli.terminal_tables import column_table
            from headstart.report.page_model import named

            columns = [
                named("problem", "kind"),
                named("trial or file", "name"),
                named("what is wrong", "text"),
            ]
            console.print(column_table(columns, map(asdict, found)))
        console.print(f"{opened.count():,} results checked, {len(found):,} problems")
    if found:
        sys.exit(BAD_INPUT)


@command(store_app)
def export(
    store: StoreArgument,
    folder: Annotated[
        Path, typer.Argument(help="New folder.", metavar="FOLDER", show_default=False)
    ],
) -> None:
    """Write a store to a folder as plain files: JSON lines, and predictions with digests."""
    from headstart.store import ResultStore
    from headstart.store.exchange import export_store

    counts = export_store(ResultStore(store), folder)
    echo(f"{counts['results']:,} results written to {folder}")


@command(store_app, "import")
def import_(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Folder that `headstart store export` wrote.", metavar="FOLDER", show_default=False
        ),
    ],
    store: StoreArgument,
    json: JsonFlag = False,
) -> None:
    """Put an exported store into a store, which is made if it is not there."""
    from headstart.store import ResultStore
    from headstart.store.exchange import import_store

    _show_merged(import_store(folder, ResultStore(store, create=True)), json=json)


@command(store_app)
def merge(
    source: StoreArgument,
    other: StoreArgument,
    into: Annotated[
        str | None,
        typer.Option(
            help="Store to put both into, which is made if it is not there; the second if omitted.",
            metavar="STORE",
            callback=refuse_password,
            show_default=False,
        ),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Put two stores together. Trials with different numbers are listed, and nothing is written."""
    from headstart.store import ResultStore
    from headstart.store.exchange import merge_stores

    sources = [ResultStore(source)]
    if into is not None:
        sources.append(ResultStore(other))
    target = ResultStore(other if into is None else into, create=True)
    _show_merged(merge_stores(sources, target), json=json)


@command(store_app)
def redo(
    trial: Annotated[
        list[str],
        typer.Argument(
            help="Trial: its key, the start of it, or words of its title.",
            metavar="KEY",
            show_default=False,
        ),
    ],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Supersede a result: the next run measures the trial again. The old result is kept."""
    from headstart.store import ResultStore, tried

    ResultStore(store)
    opened = ResultStore(store, create=True)
    (found,) = tried(opened, trial)
    opened.supersede(found.key)
    echo(f"{found.key[:KEY_DIGITS]} ({found.title}): the next run measures it again")


def _show_merged(report: "MergeReport", *, json: bool) -> None:
    from headstart.spec.formatting import count

    if json:
        print_json(asdict(report))
    elif report.conflicts:
        from headstart.cli.terminal_tables import column_table
        from headstart.report.page_model import Column, named

        columns = [
            named("trial", "key", lambda key: key[:KEY_DIGITS]),
            named("title", "title"),
            named("store", "store"),
            Column("accuracy", "accuracy"),
        ]
        rows = [
            {
                "key": one.key, "title": one.title, "store": store,
                "accuracy": "partly measured" if accuracy is None else f"{100 * accuracy:.2f}",
            }
            for one in report.conflicts
            for store, accuracy in zip(one.stores, one.accuracies, strict=True)
        ]  # fmt: skip
        console.print(column_table(columns, rows))
        console.print(
            f"Different numbers of {count(len(report.conflicts), 'trial')}; nothing was written. "
            "Supersede the results that are not to count: headstart store redo KEY --store STORE"
        )
    else:
        failed = f", {count(report.failures, 'failure')} added" if report.failures else ""
        console.print(
            f"{count(report.added, 'result')} added, {report.known:,} known before{failed}"
        )
    if report.conflicts:
        sys.exit(BAD_INPUT)
