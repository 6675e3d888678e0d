"""`make torture`: hostile files, kills, Ctrl-C and full disks at every file-system call, and odd
surroundings, as long as asked; prints a table and every command that broke the rule.

The rule: exit code 0, 2, 3, 4, 5, 130 or 141; no traceback; at most 30 s and 2 GB; nothing half
written left; what was damaged is not called right.
"""

from __future__ import annotations

import argparse
import re
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.torture.forked import in_child, preload
from tests.torture.trials import Report, fault_trials, file_trials, surrounding_trials


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long")
    parser.add_argument("--trials", type=int, default=10**6, help="of each kind, at most")
    parser.add_argument("--seed", type=int, default=0, help="names the whole run")
    parser.add_argument("--only", default="", help="kinds whose name this expression finds")
    chosen = parser.parse_args()
    preload()
    from tests.torture.subjects import SUBJECTS
    from tests.torture.whole_files import write_whole_files

    report = Report()
    # no TemporaryDirectory: a child that ends as a rank does would remove it
    root = Path(tempfile.mkdtemp(prefix="torture-"))
    try:
        in_child(lambda: write_whole_files(root / "whole"), root)
        kinds = [*(subject.name for subject in SUBJECTS), "surroundings", "faults"]
        kinds = [kind for kind in kinds if re.search(chosen.only, kind)]
        end = time.monotonic() + chosen.seconds
        for number, kind in enumerate(kinds):
            left = end - time.monotonic()
            until = time.monotonic() + left / (len(kinds) - number)
            if kind == "faults":
                fault_trials(report, root, chosen.trials, until, chosen.seed)
            elif kind == "surroundings":
                surrounding_trials(report, root, chosen.trials, until)
            else:
                subject = next(each for each in SUBJECTS if each.name == kind)
                file_trials(report, root, subject, chosen.trials, until, chosen.seed)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(report.table())
    for kind, command, faults, damage in report.broken:
        print(f"\n{kind}: seed {shlex.join(command)[:300]}\n  {'; '.join(faults)}\n  {damage}")
    return int(bool(report.broken))


if __name__ == "__main__":
    sys.exit(main())
