"""Columns of a table of results, and how the columns of other tables map to them."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from headstart.analysis.tables.canonical_names import IMAGENET, canonical, is_known_dataset
from headstart.analysis.tables.numerals import NumberKind, Numbers, parse_numbers
from headstart.analysis.tables.text_tables import Grid
from headstart.errors import TableError
from headstart.spec import plain_name
from headstart.spec.formatting import first_few, role

__all__ = [
    "COUNTS",
    "ERRORS",
    "EXAMPLES",
    "KNOWN",
    "LOSSES",
    "MEASURES",
    "NUMBERS",
    "PREDICTOR",
    "REQUIRED",
    "SCORES",
    "SIZES",
    "SPREADS",
    "SWEEPS",
    "Heading",
    "Resolved",
    "base_of_spread",
    "headings",
    "is_summary",
    "means_for_accuracies",
    "other_measures",
    "parse_mapping",
    "resolve",
    "without_measure",
]

REQUIRED = ("model", "dataset", "setting")
# One of them gives the score; an error rate is one less the accuracy.
SCORES = ("accuracy", "log_odds", "error")
# Each is a further factor: a cell is a model, a dataset, a setting, and these where they are given.
SWEEPS = ("configuration", "steps", "examples_per_class")
# What a model costs: parameters, multiply-adds of one image, images per second.
SIZES = ("parameters", "multiply_adds", "throughput", "throughput_cpu")
# The column of the predictor that an analysis asks for, where it is none of the known ones.
PREDICTOR = "predictor"
OPTIONAL = ("upstream_accuracy", "upstream_error", "upstream_name", "metric", "n_test", "n_train",
            "n_classes", "seed", "se", "family", "protocol", "precision", "content", "limit", "key",
            "batch_size", *SWEEPS, *SIZES)  # fmt: skip
NUMBERS = ("accuracy", "log_odds", "error", PREDICTOR, "upstream_accuracy", "upstream_error",
           "n_test", "n_train", "n_classes", "seed", "se", "steps", "examples_per_class", "limit",
           "batch_size", *SIZES)  # fmt: skip
COUNTS = ("n_test", "n_train", "n_classes", "seed", "steps", "examples_per_class", "limit",
          "batch_size")  # fmt: skip
KNOWN = (*REQUIRED, *SCORES, *OPTIONAL)
IGNORE = "ignore"
# Columns of per-example predictions, beside model, dataset, setting and seed.
EXAMPLES = ("example", "correct", "prediction", "label", "scores")
# What else tables call these columns; letters and digits alone count.
SYNONYMS = {
    "model": ("models", "modelname", "method", "methods", "network", "net", "backbone", "encoder",
              "architecture", "arch", "name", "pretrainedmodel"),
    "dataset": ("datasets", "task", "downstreamdataset", "targetdataset",
                "downstreamtask", "testset", "datasetname", "taskname", "benchmark"),
    "setting": ("settings", "transfersetting", "transfermethod"),
    "accuracy": ("acc", "top1", "top1acc", "top1accuracy", "acc1", "acctop1", "testacc",
                 "testaccuracy", "accuracytop1", "top1testaccuracy", "testacc1", "testtop1",
                 "evalaccuracy", "evalacc", "linearacc", "probeacc", "score"),
    "error": ("err", "errorrate", "errors", "top1error", "top1err", "testerror", "testerr",
              "testerrorrate", "err1"),
    "log_odds": ("logodds", "logit"),
    "se": ("accuracyse", "accse", "stderr", "standarderror", "sem", "accuracystderr", "std", "sd",
           "stdev", "accstd", "accstderr", "accuracystd", "accuracysd", "standarddeviation"),
    "upstream_error": ("imageneterror", "imagenettop1error", "imageneterr"),
    "n_test": ("ntest", "testimages", "testsize", "numtest"),
    "n_train": ("ntrain", "trainimages", "trainsize", "numtrain"),
    "n_classes": ("nclasses", "numclasses", "classes"),
    "parameters": ("params", "param", "paramcount", "nparams", "numparams", "numparameters"),
    "multiply_adds": ("macs", "madds", "multadds", "macc"),
    "example": ("exampleid", "image", "imageid", "imagename", "filename", "file", "sample",
                "sampleid", "instance", "img"),
    "correct": ("iscorrect", "right", "hit"),
    "prediction": ("pred", "predicted", "predictedlabel", "predictedclass", "predlabel", "ypred"),
    "label": ("target", "truth", "groundtruth", "gt", "truelabel", "labels", "trueclass", "ytrue"),
    "scores": ("logits", "probabilities", "probs"),
    "throughput": ("imagespersecond", "imgspersec", "imgs", "ips", "imagess", "samplespersec"),
}  # fmt: skip
SPREADS = frozenset({"se", "±", "error bar", "ste", *SYNONYMS["se"]})
# Measures that stand below the names of datasets, as they are called in a column `metric`.
ACCURACIES = frozenset({"accuracy", "test", "accmean", *SYNONYMS["accuracy"]} - {"score"})
ERRORS = frozenset({"error", *SYNONYMS["error"]})
MEASURES = MappingProxyType({
    **dict.fromkeys((*ACCURACIES, "mean", "value"), "accuracy"),
    **dict.fromkeys(("map", "map11", "map11point"), "mAP"),
    **dict.fromkeys(("meanperclass", "mpc", "meanperclassaccuracy", "mca"), "mean-per-class"),
    **dict.fromkeys(("f1", "f1score", "macrof1", "f1macro"), "F1"),
    **dict.fromkeys(("auc", "auroc", "rocauc"), "AUROC"),
})  # fmt: skip
# Numbers below a dataset's name that are no scores.
NO_SCORES = frozenset({"n", "ntest", "count", "samples", "images", "support"})
# What stands beside a dataset's name: pets_acc, "Pets Error", acc_pets.
MEASURE = r"(acc|accuracy|top[ _-]?1|top1[ _-]acc|err|error|error[ _-]rate)"
MEASURE_ENDING = re.compile(rf"(?<=\w)(?:[ _/:-]+|\s*[(\[]){MEASURE}\.?[)\]]?$", re.IGNORECASE)
MEASURE_START = re.compile(rf"^{MEASURE}[ _/:-]+(?=\w)", re.IGNORECASE)
# What a column of means is called beside their spreads, in a table with a row per result.
MEANS = frozenset({"mean", "meanaccuracy", "meanacc", "accuracymean", "accmean", "avg", "average",
                   "testaccmean", "testaccuracymean", "top1mean", "valaccmean"})  # fmt: skip
# Of the multiples in which models' sizes are given.
MULTIPLES = {"m": 1e6, "million": 1e6, "millions": 1e6, "g": 1e9, "b": 1e9, "k": 1e3, "": 1.0}
# What stands beside a name in a header: emphasis, footnotes, bullets.
DECORATION = "*† ●•○◦■□▪▫◆◇★☆"
UPSTREAM_WORDS = (
    "",
    "top1",
    "acc",
    "accuracy",
    "top1acc",
    "top1accuracy",
    "acc1",
    "val",
    "valtop1",
)
# Numbers beside results in a wide table that are no accuracies: left out, and said.
SUMMARIES = frozenset({
    "avg", "average", "mean", "meanaccuracy", "averageaccuracy", "meanacc", "avgacc", "overall",
    "total", "median", "rank", "meanrank", "avgrank", "averagerank", "ø", "borda", "meanscore",
    "avgscore", "averagescore", "meantask", "meantasktype",
})  # fmt: skip
NO_ACCURACIES = re.compile(
    r"(n|num|no|gpu|cpu|train|inference)?(param|params|parameters|flop|flops|gflops|macs|gmacs|"
    r"macts|imgsize|imagesize|inputsize|inputres|resolution|res|croppct|epoch|epochs|batchsize|"
    r"memoryusage|numberofparameters|maxtokens|embeddingdimensions|rankborda|"
    r"runtime|latency|throughput|ips|speed|time|hours|memory|vram|modelsize|size|year|dim|dims|embeddim|"
    r"embeddingdim|featuredim|patchsize|layers|depth|width|numclasses|classes|lr|learningrate|"
    r"weightdecay|seed|index|id|downloads|likes|ndraws|nruns|nseeds|runs|seeds)"
    r"(m|g|b|k|mb|gb|ms|s|million|billion|px|perimage)?|.*top5(acc|accuracy|err|error)?|"
    r".*(fp32|fp16|bf16|amp)ips"
)


# Words of measures that are neither accuracies nor rates of errors.
LOSSES = re.compile(
    r"(?<![a-z])(?:loss|losses|ppl|perplexity|nll|ece|brier|fid|rmse|mse|mae|bpc|log[ _-]?odds"
    r"|p[ _-]?values?|p0?5|error[ _-]?bars?)(?![a-z])",
    re.IGNORECASE,
)


class Heading(NamedTuple):
    """What a column is called.

    `levels` its texts in the header rows without arrows and units; `percent` whether ``%`` stands
    there; `lower` whether an arrow says that lower is better; `unit` what else stands in brackets.
    """

    levels: tuple[str, ...]
    percent: bool
    lower: bool
    unit: str

    @property
    def name(self) -> str:
        """The lowest text that is there."""
        return next((text for text in reversed(self.levels) if text), "")

    @property
    def texts(self) -> list[str]:
        """The texts that are there, each once."""
        return list(dict.fromkeys(text for text in self.levels if text))

    @property
    def full(self) -> str:
        """All texts."""
        return " ".join(self.texts)

    @property
    def plain(self) -> str:
        return plain_name(self.name)


class Resolved(NamedTuple):
    """A table of which it is known which column is which.

    `where` is the table, for messages, `body` its cells, `headings` are those of all its columns,
    `columns` our name -> places of theirs (several are joined), `constants` our name -> a value for
    all rows, `rest` places of all others, `guessed` our name -> their name where they differ,
    `ignored` their names.
    """

    where: str
    body: pd.DataFrame
    headings: Sequence[Heading]
    columns: dict[str, list[int]]
    constants: dict[str, str]
    rest: list[int]
    guessed: dict[str, str]
    ignored: list[str]

    def has(self, name: str) -> bool:
        """Return whether a column of ours is there, or has one value for all rows."""
        return name in self.columns or name in self.constants

    @property
    def rows(self) -> list[Any]:
        """What messages call the rows."""
        return list(self.body.index)

    def cells(self, place: int) -> list[Any]:
        """Return the cells of a column."""
        return list(self.body[place].tolist())

    def numbers(self, place: int, kind: NumberKind = "score") -> Numbers:
        """Return the cells of a column as numbers."""
        return parse_numbers(self.cells(place), self.rows, self.headings[place].full, kind)

    def no_column(self, name: str, what: str = "") -> TableError:
        """Return the error of a table that lacks a column of ours."""
        what = what or f"no column '{name}'"
        names = [column.full for column in self.headings if column.full]
        return TableError(
            f"{self.where}: {what}; found: {first_few(names, 20) or 'none'}; name it with "
            f"--columns {name}=COLUMN (or {name}:=VALUE for all rows)",
            code="table.column_missing", column=name, found=names,
        )  # fmt: skip


def parse_mapping(text: str, also: Sequence[str] = ()) -> dict[str, str]:
    """Parse ``model=Model,accuracy=acc,setting:=linear``: ours = theirs, or ours := one value.

    A name with a comma is quoted, or stands as it is; ``model=Arch+Pretraining`` joins two columns;
    ``model=#1`` is the first column, whatever its name; ``ignore=Year+Rank`` leaves columns out.
    Names of `also` may stand on the left, too.

    Raises
    ------
    TableError
        Not of that form, or a name on the left that is none of ours.

    Examples
    --------
    >>> parse_mapping("model=Model, setting:=linear")
    {'model': 'Model', 'setting': ':linear'}
    >>> parse_mapping('upstream_accuracy="ImageNet, top-1",model=net')
    {'upstream_accuracy': 'ImageNet, top-1', 'model': 'net'}
    """
    mapping: dict[str, str] = {}
    name = ""
    for part in re.findall(r"""(?:"(?:[^"]|"")*"|'[^']*'(?=\s*(?:,|$))|[^,])+""", text):
        if not part.strip():
            continue
        given, equals, theirs = part.partition("=")
        if not equals and name:
            # A comma in the name of a column.
            mapping[name] += "," + part.rstrip()
            continue
        constant = given.endswith(":")
        name, theirs = given.rstrip(":").strip(), _unquoted(theirs.strip())
        if not equals or not theirs:
            raise TableError(
                "--columns: expected ours=theirs or ours:=value, separated by commas, "
                f"found '{part.strip()}'",
                code="table.mapping", found=part.strip(),
            )  # fmt: skip
        mapping[name] = ":" + theirs if constant else theirs
    check_names({name: theirs for name, theirs in mapping.items() if name not in also})
    return mapping


def check_names(mapping: Mapping[str, str]) -> None:
    """Raise TableError for a key that is no column of ours."""
    for name in mapping:
        if name not in (*KNOWN, *EXAMPLES, IGNORE):
            near = get_close_matches(name, KNOWN, n=1, cutoff=0.6)
            hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(KNOWN)}"
            raise TableError(f"--columns: unknown column '{name}' left of =: {hint}",
                             code="table.mapping_name", name=name, near=near)  # fmt: skip


def headings(header: Sequence[tuple[str, ...]]) -> list[Heading]:
    """Take arrows, percent signs and units out of the texts of a header."""
    found = []
    for levels in header:
        whole = " ".join(levels)
        units = re.findall(r"[(\[]\s*([^()\[\]]{1,12})\s*[)\]]\s*[↑↓]?\s*$", levels[-1])
        texts = tuple(
            " ".join(re.sub(r"[↑↓⇑⇓▲▼]|\(\s*[↑↓]?\s*\)|[(\[]\s*%\s*[)\]]", "", t).split())
            for t in levels
        )
        texts = tuple(re.sub(r"(?:^|(?<=[\w)]))\s*%$", "", text).strip(DECORATION)
                      for text in texts)  # fmt: skip
        lower = any(arrow in whole for arrow in "↓⇓▼")
        found.append(Heading(texts, "%" in whole, lower, units[0] if units else ""))
    return found


def is_summary(name: str) -> bool:
    """Return whether a row or column is called as averages over others are."""
    return plain_name(name) in SUMMARIES or name.strip() in ("Ø", "∅", "Σ", "Δ")


def resolve(
    grid: Grid,
    mapping: Mapping[str, str],
    where: str,
    *,
    known: Sequence[str] = KNOWN,
    scores: bool = True,
    predictor: str = "",
) -> Resolved:
    """Find which column is which of the `known` ones: as `mapping` says, else by its name.

    Capitals and signs do not count; a synonym is taken where the name itself is not there. A column
    is taken for the accuracy by its name only with `scores`; the one that is called as `predictor`
    is also our `PREDICTOR`.

    Raises
    ------
    TableError
        A column of `mapping` is not there, or two columns may be the same one of ours.
    """
    check_names(mapping)
    columns = headings(grid.header)
    taken: dict[str, list[int]] = {}
    constants = {o: theirs[1:] for o, theirs in mapping.items() if theirs.startswith(":")}
    for ours, theirs in mapping.items():
        if not theirs.startswith(":"):
            taken[ours] = _find(columns, theirs, where)
    ignored = [columns[j].full for j in taken.pop(IGNORE, [])]
    used = {j for places in taken.values() for j in places}
    used |= {j for j, column in enumerate(columns) if column.full in ignored}
    free = {j: c for j, c in enumerate(columns) if j not in used and len(c.texts) < 2}
    guessed = {}
    for ours in known:
        score = ours in SCORES
        if ours in taken or ours in constants or (score and not scores):
            continue
        if score and any(name in taken for name in SCORES):
            continue
        places = _by_name(ours, free, where)
        if places:
            taken[ours] = places
            del free[places[0]]
            used.add(places[0])
            if columns[places[0]].name != ours:
                guessed[ours] = columns[places[0]].full
    place = _one(columns, predictor, where) if predictor else None
    if place is not None:
        taken[PREDICTOR] = [place]
        used.add(place)
    rest = [j for j in range(len(columns)) if j not in used]
    return Resolved(where, grid.body, columns, taken, constants, rest, guessed, ignored)


def means_for_accuracies(found: Resolved) -> Resolved:
    """Take the one column of means for the accuracies, in a table with a row per result."""
    if any(map(found.has, SCORES)) or not (found.has("model") and found.has("dataset")):
        return found
    # Beside a column that says what was measured, a value is its value.
    names = MEANS | ({"value", "result"} if "metric" in found.columns else set())
    means = [j for j in found.rest if plain_name(found.headings[j].full) in names]
    spreads = [j for j in found.rest if found.headings[j].plain in SPREADS]
    if len(means) != 1:
        return found
    taken = {**found.columns, "accuracy": means}
    guessed = {**found.guessed, "accuracy": found.headings[means[0]].full}
    if len(spreads) == 1 and "se" not in taken:
        taken["se"] = spreads
        guessed["se"] = found.headings[spreads[0]].full
    rest = [j for j in found.rest if [j] not in (means, taken.get("se"))]
    return found._replace(columns=taken, guessed=guessed, rest=rest)


def other_measures(columns: Sequence[Heading]) -> set[int]:
    """Find the columns of a header of several rows that are beside accuracies and are none.

    Below a dataset stand ``acc`` and ``n``, or ``accuracy`` and ``f1``: the others are no settings
    that a result was measured in.
    """
    levels = list(zip(*(column.levels for column in columns), strict=True))
    found: set[int] = set()
    for texts in levels if len(levels) > 1 else []:
        plain = [plain_name(text) for text in texts]
        own = ACCURACIES.intersection(plain) or ERRORS.intersection(plain)
        # Of accuracies by two rules, or two names for one, a person chooses.
        kept = {*ACCURACIES, *MEANS, *SPREADS, "map", "map11", "map11point", "mpc", "mca"}
        for j, text in enumerate(texts):
            known = not text or plain[j] in own | kept or is_known_dataset(text) or role(text)
            if plain[j] in NO_SCORES or (own and not known):
                found.add(j)
    return found


def base_of_spread(name: str, plain: set[str]) -> str | None:
    """Return the column whose spread this one is: ``pets`` for ``pets_std`` or ``pets ±``."""
    text = name.strip()
    for ending in ("±", *sorted(SPREADS, key=len, reverse=True)):
        stem = text[: -len(ending)]
        if text.lower().endswith(ending) and stem and not stem[-1].isalpha():
            stem = stem.strip(" _-.(")
            if plain_name(stem) in plain:
                return stem
    return None


def without_measure(names: dict[str, str]) -> tuple[dict[str, str], bool]:
    """Take "acc" or "error" off a dataset's name; say whether it was an error rate."""
    name = names.get("dataset", "")
    if found := MEASURE_ENDING.search(name):
        rest = name[: found.start()]
    elif (found := MEASURE_START.search(name)) and is_known_dataset(name[found.end() :]):
        rest = name[found.end() :]
    else:
        return names, False
    return {**names, "dataset": rest}, found[1].lower().startswith("err")


def _by_name(ours: str, free: Mapping[int, Heading], where: str) -> list[int]:
    plain = plain_name(ours)
    for synonyms in (False, True):
        names = SYNONYMS.get(ours, ()) if synonyms else (plain,)
        found = [j for j, column in free.items() if _bare(ours, column) in names]
        if not found and synonyms and ours == "upstream_accuracy":
            found = [j for j, column in free.items() if _is_upstream(column)]
        exact = [j for j in found if free[j].name == ours]
        if len(exact) == 1:
            return exact
        if len(found) > 1 and ours == "se":
            # A spread per column of results.
            return []
        if len(found) > 1:
            both = [free[j].full for j in found]
            if len(set(both)) == 1:
                raise _twice(both[0], len(both), where)
            raise TableError(
                f"{where}: columns {', '.join(map(repr, both))} may all be '{ours}': say which "
                f"with --columns {ours}={both[0]}"
                + (f", or join them: {ours}={'+'.join(both)}" if ours in REQUIRED else ""),
                code="table.column_ambiguous", column=ours, found=both,
            )  # fmt: skip
        if found:
            return found
    return []


def _bare(ours: str, column: Heading) -> str:
    """Leave the multiple off a size: ``params (M)``, ``param_count_M``, ``gmacs``."""
    plain = column.plain
    if ours in SIZES:
        plain = plain.removesuffix(plain_name(column.unit)) if column.unit else plain
        if multiple_of(column) != 1.0 and not column.unit:
            plain = plain.removeprefix("g") if plain.startswith("gmac") else plain[:-1]
    elif column.unit:
        plain = plain.removesuffix(plain_name(column.unit)) or plain
    return plain


def multiple_of(column: Heading) -> float:
    """Return what the numbers of a column of sizes are multiples of, by its name."""
    if column.unit:
        return MULTIPLES.get(plain_name(column.unit), 1.0)
    if column.plain.startswith(("gmac", "gmadd")):
        return 1e9
    ending = re.search(r"[_ ]([MGBK])$", column.name)
    return MULTIPLES[ending[1].lower()] if ending else 1.0


def _is_upstream(column: Heading) -> bool:
    """Whether a column is called as the ImageNet accuracy is."""
    plain = column.plain
    for word in sorted(UPSTREAM_WORDS, key=len, reverse=True):
        stem = plain.removesuffix(word) if word else plain
        if stem and canonical("dataset", stem) == IMAGENET:
            return True
    return False


def _find(columns: Sequence[Heading], theirs: str, where: str) -> list[int]:
    """Find the columns that `theirs` names: one, or several joined by +."""
    if (place := _one(columns, theirs, where)) is not None:
        return [place]
    parts = [_unquoted(part.strip()) for part in theirs.split("+")]
    if len(parts) > 1:
        places = [_one(columns, part, where) for part in parts]
        if all(place is not None for place in places):
            return [place for place in places if place is not None]
        theirs = next(part for part, place in zip(parts, places, strict=True) if place is None)
    found = [column.full for column in columns]
    near = get_close_matches(theirs, found, n=1, cutoff=0.5)
    hint = f": did you mean '{near[0]}'?" if near else f"; found: {', '.join(found) or 'none'}"
    raise TableError(f"{where}: no column '{theirs}'{hint}", code="table.column_missing",
                     column=theirs, found=found, near=near)  # fmt: skip


def _one(columns: Sequence[Heading], theirs: str, where: str) -> int | None:
    if re.fullmatch(r"#[1-9]\d{0,3}", theirs) and int(theirs[1:]) <= len(columns):
        # By its place, as a column may have no name.
        return int(theirs[1:]) - 1
    ways = (lambda text: text, lambda text: " ".join(text.casefold().split()), plain_name)
    for way in ways:
        if not (wanted := way(theirs)):
            continue
        for names in ([c.full for c in columns], [c.name for c in columns]):
            found = [j for j, name in enumerate(names) if way(name) == wanted]
            if len(found) == 1:
                return found[0]
            if len(found) > 1:
                raise _twice(theirs, len(found), where)
    return None


def _twice(name: str, count: int, where: str) -> TableError:
    return TableError(f"{where}: {count} columns are called '{name}': rename all but one",
                      code="table.column_twice", column=name, count=count)  # fmt: skip


def _unquoted(text: str) -> str:
    for quote in "\"'":
        if len(text) > 1 and text[0] == text[-1] == quote:
            return text[1:-1].replace(quote * 2, quote)
    return text
