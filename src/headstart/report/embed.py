"""What the page carries: Vega, the charts with their data, and the policy that forbids requests."""

import base64
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from typing import Any

import vl_convert

from headstart.report.charts import CONFIG, Chart, Figure
from headstart.report.data import chart_data
from headstart.report.grid import about
from headstart.report.subject import Names, Subject

__all__ = ["bundle", "payload", "placed", "policy", "script_data"]


@cache
def bundle() -> str:
    """Give Vega, Vega-Lite and Vega-Embed as one script that leaves one name behind."""
    script = (
        f"(function () {{\n{vl_convert.javascript_bundle('window.vegaEmbed = vegaEmbed;')}\n}})();"
    )
    return script.replace("</script", "<\\/script")


def policy(scripts: Iterable[str]) -> str:
    """Write the content security policy: these scripts, by their digest, and no request at all."""
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:"


def payload(subject: Subject, names: Names, figures: list[Figure]) -> str:
    """Give what the script of the report needs."""
    content = {
        "names": {
            "settings": names.settings,
            "datasets": names.datasets,
            "models": names.models,
        },
        "tables": chart_data(subject, names),
        "charts": {
            key: chart.spec for figure in figures for key, chart, _ in placed(figure, names)
        },
        "config": CONFIG,
    }
    return script_data(content)


def script_data(content: Any) -> str:
    """Write what a script needs as JSON that cannot end its own element."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def placed(figure: Figure, names: Names) -> list[tuple[str, Chart, dict[str, Any]]]:
    """Give each chart of a figure its place on the page, and what it is about."""
    return [
        (
            f"{figure.key}-{i}",
            chart,
            about(names, setting=chart.setting, dataset=chart.dataset),
        )
        for i, chart in enumerate(figure.charts)
    ]
