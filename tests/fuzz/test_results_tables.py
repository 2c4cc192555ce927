"""Mangled tables of results, in each format: a table is read, or the error is headstart's own."""

import io
import random

import pandas as pd
import pytest

from headstart.analysis.tables.results_sources import read_sources
from headstart.analysis.tables.tidy_table import ReadOptions
from headstart.errors import HeadstartError

ROUNDS = 20
LONG = pd.DataFrame(
    [
        {"model": f"net{m}", "upstream_accuracy": 70 + m, "dataset": d, "setting": s,
         "accuracy": 80 + m, "n_test": 1000}
        for m in range(4) for d in ("pets", "cars") for s in ("linear", "ft")
    ]
)  # fmt: skip
WIDE = pd.DataFrame({"model": ["a", "b", "c"], "ImageNet": [70.1, 71, 72], "pets": [80.1, 81, 82],
                     "cars": ["60 \u00b1 0.1", "-", "61 (0.2)"]})  # fmt: skip
LEVELS = pd.DataFrame(
    [[1.5, 2.5, 3.5, 4.5]], index=pd.Index(["a"], name="model"),
    columns=pd.MultiIndex.from_product([["linear", "ft"], ["pets", "cars"]]),
)  # fmt: skip
EXAMPLES = pd.DataFrame({"model": ["a", "a", "b", "b"], "example": [1, 2, 1, 2],
                         "label": [0, 1, 0, 1], "prediction": [0, 0, 0, 1]})  # fmt: skip
PIECES = ["", ",", ";", "\t", "|", "\n", "\n\n", '"', "'", "{", "}", "[", "]", "\\", "&", "%", "$",
          "\\\\", "NaN", "inf", "-1", "1e999", "92.1 \u00b1 0.3", "(", ")", "92,1", "None", "null",
          "model", "dataset", "accuracy", "setting", "ImageNet", "pets", "<td colspan=999999999>",
          "<table>", "\\multicolumn{99999}{c}{x}", "\\multirow{3}{*}{y}", "---", "|---|", "\u2014",
          "\x00", "\ufeff", "\ud800", "all", "error", "True", "0", "#1", "?", "sep=;"]  # fmt: skip


def documents() -> dict[str, bytes]:
    """Sound tables in every format; the text ones are mangled as text."""
    found = {}
    for name, frame in (("long", LONG), ("wide", WIDE), ("examples", EXAMPLES)):
        rows = "\n".join("|" + "|".join(map(str, row)) + "|" for row in frame.to_numpy())
        names = "|" + "|".join(frame) + "|\n" + "|-" * frame.shape[1] + "|\n"
        body = " \\\\\n".join(" & ".join(map(str, row)) for row in frame.to_numpy())
        head = " & ".join(frame) + " \\\\ \\midrule\n"
        texts = {
            "csv": frame.to_csv(index=False),
            "json": frame.to_json(orient="records"),
            "columns": frame.to_json(),
            "lines": frame.to_json(orient="records", lines=True),
            "html": frame.to_html(index=False),
            "markdown": names + rows,
            "latex": f"\\begin{{tabular}}{{lll}}\n{head}{body}\n\\end{{tabular}}",
        }
        found |= {f"{name} {kind}": text.encode() for kind, text in texts.items()}
        for kind, write in (("excel", frame.to_excel), ("parquet", frame.to_parquet)):
            file = io.BytesIO()
            write(file, index=False)
            found[f"{name} {kind}"] = file.getvalue()
    found["levels csv"] = LEVELS.to_csv().encode()
    found["nested json"] = b'{"a": {"pets": 1.5, "cars": 2}, "b": {"pets": {"acc": 3}}}'
    return found


DOCUMENTS = documents()


def mangled(content: bytes, draw: random.Random) -> bytes:
    """Cut, repeat, swap, and put in what tables have in the wrong places."""
    for _ in range(draw.randint(1, 4)):
        i, j = sorted(draw.randint(0, len(content)) for _ in range(2))
        piece = draw.choice(PIECES).encode("utf-8", "surrogatepass")
        content = draw.choice([
            content[:i] + content[min(j, i + 20):],
            content[:i] + piece + content[i:],
            content[:i] + piece + content[min(j, i + len(piece)):],
            content[:i] + content[i:j] * 2 + content[j:],
            content[:i],
            content[i:],
            content.replace(b"\n", b"\r", 1),
            content.replace(bytes([content[i - 1]]), piece, 2) if content else piece,
        ])  # fmt: skip
    return content


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_only_errors_of_our_own(tmp_path, kind):
    draw = random.Random(kind)
    file = tmp_path / "table"
    file.write_bytes(DOCUMENTS[kind])
    if kind != "nested json":
        assert len(read_sources([file]).frame)
    # A workbook takes longer to open than all else.
    for _ in range(ROUNDS // 5 if "excel" in kind else ROUNDS):
        content = mangled(DOCUMENTS[kind], draw)
        file.write_bytes(content)
        options = ReadOptions(
            wide=draw.random() < 0.2,
            measure=draw.choice(["accuracy", "error"]),
            duplicates=draw.choice(["refuse", "average"]),
        )
        frame, refused = None, None
        try:
            frame = read_sources([file], None, options).frame
        except HeadstartError as error:
            refused = error
        except Exception as error:
            raise AssertionError(f"{kind}: {content!r}") from error
        if frame is None:
            assert "\n" not in str(refused)
            assert refused.code != "table"
        else:
            assert frame["accuracy"].between(0, 1).all()
            assert frame[["model", "dataset", "setting"]].notna().all(axis=None)
