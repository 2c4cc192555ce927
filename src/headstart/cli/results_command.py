"""`headstart results`: list what a store holds, show what a trial tried."""

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.command_group import HELP, CommandGroup, command, group
from headstart.cli.options import DEFAULT_STORE, CsvFlag, JsonFlag, StoreOption
from headstart.cli.output import console, echo, one_form
from headstart.errors import CommandError, StorageError

if TYPE_CHECKING:
    from headstart.deploy.result_details import ResultDetails
    from headstart.report.cell_page import MistakePicture
    from headstart.spec import Prediction
    from headstart.store import Page, ResultStore, Tried

__all__ = ["results_app"]


def _filter(noun: str) -> Any:
    """Return the option that keeps results of some models, datasets or settings."""
    return typer.Option(
        f"--{noun}s",
        f"--{noun}",
        help=f"Only these {noun}s: names or patterns (NAME*), separated by commas.",
        metavar="NAMES",
        show_default=False,
    )


ModelFilter = Annotated[str | None, _filter("model")]
DatasetFilter = Annotated[str | None, _filter("dataset")]
SettingFilter = Annotated[str | None, _filter("setting")]
SortOption = Annotated[
    str | None,
    typer.Option(
        help="Column to sort by (model, dataset, setting, seed, metric, accuracy, n_test, "
        "created_at), with :desc in decreasing order; in the order of storing if omitted.",
        metavar="COLUMN[:desc]",
        show_default=False,
    ),
]
PageSizeOption = Annotated[
    int | None,
    typer.Option(help="Maximum number of results; all if omitted.", min=1, metavar="INTEGER",
                 show_default=False),
]  # fmt: skip
OffsetOption = Annotated[
    int, typer.Option(help="Number of results to skip.", min=0, metavar="INTEGER")
]

AllFlag = Annotated[
    bool, typer.Option("--all", help="Superseded results, too; they are marked as such.")
]

# Rows of each table of one trial; the page has all.
MOST = 10

results_app = typer.Typer(cls=CommandGroup, context_settings=HELP)


@group(results_app)
def results(
    context: typer.Context,
    store: StoreOption = DEFAULT_STORE,
    csv: CsvFlag = False,
    json: JsonFlag = False,
    models: ModelFilter = None,
    datasets: DatasetFilter = None,
    settings: SettingFilter = None,
    sort: SortOption = None,
    limit: PageSizeOption = None,
    offset: OffsetOption = 0,
    all_: AllFlag = False,
) -> None:
    """Show the results in a store: all, or filtered, sorted, and page by page."""
    filters = (models, datasets, settings, sort, limit)
    if context.invoked_subcommand is None:
        one_form(csv=csv, json=json)
        page = _page(*filters, offset)
        _show_results(store, page, csv=csv, json=json, superseded=all_)
    elif csv or json or store != DEFAULT_STORE or any(filters) or offset or all_:
        raise CommandError(
            "options of `headstart results` must follow the subcommand: headstart results show "
            "--store FILE",
            code="command.order",
        )


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
    _show_trials(trial or [], store, csv=csv, json=json)
    if out is not None or (trial and not csv and not json):
        _show_details(trial or [], store, out, images=images, silent=csv or json)


def _page(
    models: str | None,
    datasets: str | None,
    settings: str | None,
    sort: str | None,
    limit: int | None,
    offset: int,
) -> "Page":
    """Read the filters of `headstart results`."""
    from headstart.store import Page

    column, _, order = (sort or "").partition(":")
    if order not in ("", "asc", "desc"):
        raise CommandError(
            f"invalid --sort {sort}: expected COLUMN, COLUMN:asc or COLUMN:desc",
            code="command.value",
            name="--sort",
            value=sort,
        )
    return Page(
        models=_names(models),
        datasets=_names(datasets),
        settings=_names(settings),
        sort=column,
        descending=order == "desc",
        limit=limit,
        offset=offset,
    )


def _names(given: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (given or "").split(",") if name.strip())


def _show_results(
    store: str, page: "Page", *, csv: bool, json: bool, superseded: bool = False
) -> None:
    """Print what a store holds as a table, CSV or JSON; with superseded results, if asked."""
    from headstart.cli import results_tables
    from headstart.store import Page, ResultStore, result_row, results_table, under_way

    opened = ResultStore(store)
    marked = opened.with_superseded(page) if superseded else ()
    found = [one for one, _ in marked] if superseded else opened.results(page=page)
    old = [is_old for _, is_old in marked]
    if csv:
        from headstart.report.data_files import to_csv

        table = results_table(found)
        echo(to_csv(table.assign(superseded=old) if superseded else table), nl=False)
    elif json:
        rows = [result_row(result) for result in found]
        if superseded:
            rows = [row | {"superseded": is_old} for row, is_old in zip(rows, old, strict=True)]
        echo(json_module.dumps(rows, indent=1))
    else:
        console.print(results_tables.results(found, old))
        if page != Page():
            console.print(f"{len(found):,} of {opened.count():,} results")
            return
        for one in under_way(opened):
            console.print(f"under way: {results_tables.under_way_line(one)}")


def _show_trials(named: Sequence[str], store: str, *, csv: bool, json: bool) -> None:
    """Print what trials tried, chose and reached, as tables, CSV or JSON."""
    from headstart.cli import results_tables
    from headstart.deploy.result_details import tie_warning
    from headstart.store import ResultStore, tried

    found = tried(ResultStore(store), named)
    if csv:
        import pandas as pd

        from headstart.report.data_files import to_csv

        rows = [row for one in found for row in results_tables.grid(one)]
        echo(to_csv(pd.DataFrame(rows)), nl=False)
    elif json:
        opened = ResultStore(store)
        more = _details_record(opened, found[0]) if named else {}
        records = [{**results_tables.record(one), **more} for one in found]
        echo(json_module.dumps(records, indent=1))
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
    named: Sequence[str], store: str, out: Path | None, *, images: bool, silent: bool
) -> None:
    """Print where one trial errs, or write its page."""
    from headstart.cli.terminal_tables import table_parts
    from headstart.deploy.result_details import details_of
    from headstart.report import cell_page
    from headstart.store import ResultStore, tried

    opened = ResultStore(store)
    if not named:
        raise CommandError(
            "argument TRIAL is missing: a page is of one trial; `headstart results --csv` has the "
            "keys",
            code="command.missing",
            name="TRIAL",
        )
    (found,) = tried(opened, named)
    if found.result is None:
        if out is not None:
            raise CommandError(
                f"trial {found.key[:12]} has no result yet: run its study again to finish it",
                code="results.unfinished",
                key=found.key,
            )
        return
    try:
        predictions = opened.predictions(found.key)
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
            cell_page.class_table(details),
            cell_page.confusion_table(details),
            cell_page.mistake_table(details, mistakes),
        ):
            for line in table_parts(table, most=MOST):
                console.print(line)
    if out is not None:
        from headstart.report.page_templates import write_html

        page = write_html(cell_page.cell_html(details, mistakes), out)
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
    from headstart.deploy.verify import tested_images
    from headstart.errors import HeadstartError
    from headstart.report.cell_page import MistakePicture
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
    from dataclasses import asdict

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
