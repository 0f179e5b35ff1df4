"""Run scikit-learn's `check_estimator` on both estimators with every loss and penalty, and write the table.

    SCIPY_ARRAY_API=1 python benchmarks/estimator_checks.py [-o table.txt] [--searches]

All parameters but loss and penalty have their defaults, and no failure is expected. Without SCIPY_ARRAY_API
the check of array API input skips itself. The searches, with their penalties and folds, take some minutes.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import sklearn
from sklearn.utils.estimator_checks import check_estimator

from regcore import LinearClassifier, LinearClassifierCV

LOSSES = ("cross_entropy", "hinge", "squared_hinge", "crammer_singer")
PENALTIES = ("none", "l1", "l2", "elasticnet", "group_l1")


def estimators(searches: bool) -> Iterator[tuple[str, Any]]:
    """Yield the name of a row and its estimator."""
    for loss in LOSSES:
        for penalty in PENALTIES:
            yield f"LinearClassifier     {loss:<15}{penalty:<12}", LinearClassifier(loss, penalty)
    for loss in LOSSES if searches else ():
        yield f"LinearClassifierCV   {loss:<15}{'(default)':<12}", LinearClassifierCV(loss)


def main() -> int:
    """Write a line for each estimator, and one for each check that did not pass; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, help="file for the table as well")
    parser.add_argument("--searches", action="store_true", help="LinearClassifierCV, too")
    arguments = parser.parse_args()
    lines: list[str] = []

    def write(line: str) -> None:
        lines.append(line)
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    write(f"scikit-learn {sklearn.__version__}, NumPy {np.__version__}, SciPy {scipy.__version__}")
    write(
        f"{'estimator':<21}{'loss':<15}{'penalty':<12}{'passed':>7}{'failed':>7}{'skipped':>8}{'seconds':>9}"
    )
    failed = 0
    for name, estimator in estimators(arguments.searches):
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = check_estimator(estimator, on_fail=None, on_skip=None)
        seconds = time.perf_counter() - start
        count = Counter(result["status"] for result in results)
        failed += count["failed"]
        write(f"{name}{count['passed']:>7}{count['failed']:>7}{count['skipped']:>8}{seconds:>9.1f}")
        for result in results:
            if result["status"] != "passed":
                reason = str(result["exception"]).strip().splitlines()
                write(f"    {result['check_name']} {result['status']}: {reason[0] if reason else ''}")
    if arguments.output:
        arguments.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
