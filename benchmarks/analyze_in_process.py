"""Analyze one table in a process of its own; print seconds, those of the processor, and peak MB.

    python benchmarks/analyze_in_process.py TABLE.csv OUT.json

`analysis.py` starts it: peak memory is of a process, and never falls.
"""

import json
import resource
import sys
import time
from pathlib import Path

import pandas as pd


def main(source: Path, out: Path) -> None:
    """Analyze, write the JSON, and print."""
    start = time.perf_counter()
    # Its imports count.
    import headstart as hs
    from headstart.report import write_report

    analysis = hs.analyze(pd.read_csv(source))
    seconds = time.perf_counter() - start
    write_report(analysis, out, "json")
    used = resource.getrusage(resource.RUSAGE_SELF)
    processor = used.ru_utime + used.ru_stime
    # Not ru_maxrss, in which the process that started this one counts, too.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    print(json.dumps([round(seconds, 2), round(processor, 2), round(peak)]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
