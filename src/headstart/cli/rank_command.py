"""`headstart rank`: which backbone for these images?"""

import re
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headstart.cli.options import (
    DEFAULT_STORE,
    CsvFlag,
    DeviceOption,
    ExecutorOptions,
    JsonFlag,
    PrecisionOption,
    SkipBrokenFlag,
    StoreOption,
    TrustFlag,
    refuse_password,
)
from headstart.cli.output import console, echo, one_form, print_json, writable_file
from headstart.errors import CommandError
from headstart.shown_text import one_line

if TYPE_CHECKING:
    from headstart.ranking.answer import HeldOut, NotTried, RankAnswer

__all__ = ["quantity", "rank"]

# A number, perhaps with an exponent, and a unit.
PART = re.compile(r"(?<![-+0-9.])([0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+)\s*([A-Za-z]*)")
# A bare number is no time: 90 may be seconds or minutes.
SECONDS = {"s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
LATENCY = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
COUNTS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "G": 1e9}
# Candidates that are named of those that were not tried for the same reason.
NAMES_SHOWN = 3


@dataclass(frozen=True)
class _RankArguments:
    """Which models may be taken, for which images."""

    dataset: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER",
            help="Folder of images with one folder per class, or any name of a dataset.",
        ),
    ]
    models: Annotated[
        str,
        typer.Option(
            help="Candidates, separated by commas: default (a curated list), paper, names, "
            "patterns (vit_small_*), a file of names.",
            metavar="NAMES",
        ),
    ] = "default"
    budget: Annotated[
        str, typer.Option(help="Time for race and test: 90s, 30m, 1h30m.", metavar="TIME")
    ] = "30m"
    max_params: Annotated[
        str | None,
        typer.Option(
            help="Largest number of parameters: 30M.", metavar="NUMBER", show_default=False
        ),
    ] = None
    max_latency: Annotated[
        str | None,
        typer.Option(
            help="Largest median latency of one image on this device: 20ms.",
            metavar="TIME",
            show_default=False,
        ),
    ] = None
    tolerance: Annotated[
        float,
        typer.Option(
            help="Accuracy in points given up for a faster model that is not significantly worse.",
            min=0,
            max=99,
            metavar="NUMBER",
        ),
    ] = 0.5
    finetune_top: Annotated[
        int,
        typer.Option(
            help="Number of leaders that are fine-tuned, too, by a short search; its time is "
            "beside the budget.",
            min=0,
            metavar="INTEGER",
        ),
    ] = 0
    finetune: Annotated[
        str, typer.Option(help="Protocol of --finetune-top: quick, short.", metavar="NAME")
    ] = "quick"
    seed: Annotated[
        int,
        typer.Option(
            help="Random seed of subsets and folds.", min=0, max=2**32 - 1, metavar="INTEGER"
        ),
    ] = 0
    limit: Annotated[
        int | None,
        typer.Option(
            help="Maximum number of images per split, class-balanced; all if omitted.",
            min=1,
            metavar="INTEGER",
            show_default=False,
        ),
    ] = None
    precision: PrecisionOption = None
    skip_broken: SkipBrokenFlag = False
    trust: TrustFlag = False

    def keywords(self) -> dict[str, Any]:
        """Return the options of the library's `rank`."""
        params, latency = self.max_params, self.max_latency
        return {
            "models": self.models,
            "budget": quantity("budget", self.budget, SECONDS, "30m, 90s or 1h30m"),
            "max_params": quantity("max-params", params, COUNTS, "30M") if params else None,
            "max_latency": quantity("max-latency", latency, LATENCY, "20ms") if latency else None,
            "tolerance": self.tolerance / 100,
            "finetune_top": self.finetune_top,
            "finetune": self.finetune,
            "seed": self.seed,
            "limit": self.limit,
            "precision": self.precision or "fp32",
            "skip_broken": self.skip_broken,
            "trust": self.trust,
        }


def rank(
    options: _RankArguments,
    executors: ExecutorOptions,
    store: StoreOption = DEFAULT_STORE,
    keep_models: Annotated[
        str | None,
        typer.Option(
            help="Folder or URL for the recommended model (default: STORE.models).",
            metavar="FOLDER",
            callback=refuse_password,
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="HTML page of the answer.", metavar="FILE", show_default=False),
    ] = None,
    device: DeviceOption = "auto",
    json: JsonFlag = False,
    csv: CsvFlag = False,
) -> None:
    """Find the backbone to take for a folder of images, within a budget of time.

    Run the same command again to resume.
    """
    one_form(csv=csv, json=json)
    keywords = options.keywords()
    from headstart.cli.progress import watched
    from headstart.ranking.rank_backbones import rank as compute
    from headstart.report import find_reporter

    if out is not None:
        find_reporter(out, formats=["html"])
        writable_file(out)
    kept = "what was measured is kept; run the same command again to resume"
    raced = partial(_show_choice, page=out, silent=json or csv)
    with watched(kept, for_programs=json or csv) as reporter:
        answer = compute(
            options.dataset,
            store=store,
            keep_models=keep_models,
            device=device,
            reporter=reporter,
            raced=raced,
            **keywords,
            **executors.keywords(),
        )
    _write_page(answer, out)
    if csv:
        import pandas as pd

        from headstart.report.reporter import to_csv

        # Whole numbers stay whole where only one model has them.
        echo(to_csv(pd.DataFrame(answer.rows()).convert_dtypes()), nl=False)
    elif json:
        print_json(answer.to_record(), ascii_only=False)
    else:
        _show_rest(answer, out)


def _write_page(answer: "RankAnswer", page: Path | None) -> None:
    if page is not None:
        from headstart.report.page_templates import write_html
        from headstart.report.rank_page import rank_html

        write_html(rank_html(answer), page)


def quantity(name: str, text: str, units: dict[str, float], example: str) -> float:
    """Read a number with a unit; a time may be several of them, each with its unit.

    Raises
    ------
    CommandError
        Not a positive number with one of the units.

    Examples
    --------
    >>> quantity("budget", "1h30m", SECONDS, "30m"), quantity("max-params", "5e6", COUNTS, "30M")
    (5400.0, 5000000.0)
    """
    parts = PART.findall(text) if PART.sub("", text).strip() == "" else []
    total = 0.0
    for number, unit in parts:
        known = unit.upper() if units is COUNTS else unit.lower()
        if known not in units or (len(parts) > 1 and units is COUNTS):
            total = 0.0
            break
        total += float(number) * units[known]
    if not 0 < total < float("inf"):
        raise CommandError(
            f"invalid --{name} '{text}': expected a positive number with its unit, for example "
            f"{example}",
            code="command.value",
            name=name,
            value=text,
        )
    return total


def _show_choice(answer: "RankAnswer", page: Path | None, *, silent: bool) -> None:
    """Print which model to take, and the table, before the test, which may take long."""
    from headstart.cli.terminal_tables import table_parts
    from headstart.report.rank_page import rank_table

    _write_page(answer, page)
    if silent:
        return
    console.print(answer.sentence)
    console.print()
    table = replace(rank_table(answer), caption="", note="", marker_legend="")
    for line in table_parts(table):
        console.print(line)
    console.print(
        "\nTied (*): not significantly different from the best, which is dropped in at most "
        f"{100 * answer.error:g} % of races. Latency of one image on {answer.device}."
    )


def _show_rest(answer: "RankAnswer", page: Path | None) -> None:
    """Print what the test says, and what was not tried."""
    from headstart.spec.formatting import count, first_few

    for note in answer.notes:
        console.print(f"Note: {note}.")
    if answer.held_out:
        console.print(_tested(answer.held_out))
        if left_out := answer.held_out.left_out:
            console.print(
                f"Left out of the test: {count(left_out, 'image')} that cannot be decoded"
            )
    for one in answer.finetuned:
        console.print(
            f"Fine-tuned {one.name} ({one.setting}): {100 * one.accuracy:.1f} % against "
            f"{100 * one.linear:.1f} % ({100 * one.difference:+.1f} points, "
            f"{100 * one.low:+.1f} to {100 * one.high:+.1f}): {one.verdict}"
            + (f"\nTo deploy it: {one.deploy}" if one.low > 0 and one.deploy else "")
        )
    reasons: dict[str, list[NotTried]] = {}
    for each in answer.not_tried:
        reasons.setdefault(each.reason, []).append(each)
    for reason, some in reasons.items():
        names = first_few([each.name for each in some], NAMES_SHOWN)
        remedy = f": {some[0].remedy}" if some[0].remedy and len(some) == 1 else ""
        console.print(f"Not tried ({reason}): {names}{remedy}")
    console.print(
        f"{answer.spent:.0f} s of {answer.budget:.0f} s; "
        f"{count(len(answer.models), 'model')} measured"
    )
    if page is not None:
        echo(f"Page: {page.resolve()}")


def _tested(found: "HeldOut") -> str:
    """Return what the test images say, and how to go on."""
    interval = ""
    if found.low is not None and found.high is not None:
        interval = f" ({100 * found.low:.1f} to {100 * found.high:.1f})"
    confused = "; ".join(
        f"{one_line(one.label)} taken for {one_line(one.predicted)}: {one.n} of {one.of}"
        for one in found.confusions[:3]
    )
    return (
        f"On {found.n:,} test images that played no part in the choice: {found.metric} "
        f"{100 * found.accuracy:.1f} %{interval}, calibration error "
        f"{100 * found.calibration_error:.1f} %, log loss {found.log_loss:.3f}"
        + (f"; {confused}" if confused else "")
        + f"\nTo deploy it: {found.deploy}"
    )
