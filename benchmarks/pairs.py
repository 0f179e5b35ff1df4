"""Every loss with every penalty, to a certificate, on real data: solver, gap, passes, seconds of each.

    python benchmarks/pairs.py -o FOLDER                        pairs.md and pairs.json in FOLDER
    python benchmarks/pairs.py -o FOLDER --data dna --loss hinge --tol 1e-6 --dtype float64

A fit is what a user gets without a word on the solver: ``regcore.fit(objective, tol=...)``. Gaps and
residuals are relative; those of the last columns are computed again in plain NumPy and float64.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from cases import BINARY_LOSSES, LOSSES
from certificates import WatchedObjective, certificate
from real_data import training_part

import regcore

PENALTIES = ("none", "l2", "l1", "elasticnet", "group_l1")


@dataclass(frozen=True)
class DataSet:
    """A file, the strength that suits it, and how it is looked at."""

    file: str
    alpha: float
    binary: bool = False
    standardize: bool = False

    @property
    def losses(self) -> tuple[str, ...]:
        return BINARY_LOSSES if self.binary else LOSSES


DATA_SETS = {
    "satimage": DataSet("satimage.npz", 1e-3, standardize=True),
    "dna": DataSet("dna.npz", 1e-3),
    "dogs_vs_cats": DataSet("dogs_vs_cats_hsv512.npz", 1e-4, binary=True),
    "a9a": DataSet("a9a.npz", 1e-4, binary=True),
    "golub": DataSet("golub.npz", 1e-2, binary=True, standardize=True),
}


def penalty_of(name: str, alpha: float, n_outputs: int) -> regcore.Penalty | None:
    """Return the penalty of scikit-learn's alpha; that of a group grows with the root of its size."""
    return {
        "none": None,
        "l2": regcore.L2(alpha / 2),
        "l1": regcore.L1(alpha),
        "elasticnet": regcore.ElasticNet.from_l1_ratio(alpha, 0.5),
        "group_l1": regcore.GroupL1(alpha * math.sqrt(n_outputs)),
    }[name]


@dataclass(frozen=True)
class Row:
    """One fit."""

    data: str
    loss: str
    penalty: str
    solver: str
    converged: bool
    message: str
    n_iter: int
    n_passes: float
    seconds: float
    value: float
    zeros: float
    gap: float | None
    residual: float | None
    value_by_numpy: float
    gap_by_numpy: float | None
    residual_by_numpy: float | None


def fit_pair(
    name: str, X: Any, y: np.ndarray, loss: str, penalty: str, arguments: dict[str, Any], cap: float
) -> Row:
    """Fit one pair, for at most `cap` seconds."""
    data = DATA_SETS[name]
    objective = WatchedObjective(
        X,
        y,
        loss=loss,
        penalty=penalty_of(penalty, data.alpha, 1 if data.binary else int(y.max()) + 1),
        binary=data.binary,
        standardize=data.standardize,
    )
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", regcore.ConvergenceWarning)  # the table says it
        result = regcore.fit(
            objective,
            random_state=0,
            callbacks=(objective.watch, lambda state: state.seconds > cap),
            **arguments,
        )
    seconds = time.perf_counter() - start
    again = certificate(objective, X, y, result)
    relative = result.value or 1.0
    return Row(
        data=name,
        loss=loss,
        penalty=penalty,
        solver=result.solver,
        converged=result.converged,
        message=result.message,
        n_iter=result.n_iter,
        n_passes=result.n_passes,
        seconds=seconds,
        value=result.value,
        zeros=float((result.W == 0).mean()),
        gap=None if result.dual_gap is None else result.dual_gap / relative,
        residual=result.residual,
        value_by_numpy=again.value,
        gap_by_numpy=again.gap,
        residual_by_numpy=again.residual,
    )


def _number(number: float | None, form: str) -> str:
    return "-" if number is None else format(number, form)


def markdown(rows: list[Row], arguments: dict[str, Any]) -> str:
    """Return the table, and under it what each fit that did not converge says."""
    lines = [
        f"`regcore.fit(objective, {', '.join(f'{k}={v!r}' for k, v in arguments.items())})`; gaps are "
        "relative to the objective.",
        "",
        "| data | loss | penalty | solver | converged | iterations | passes | seconds | objective | zeros "
        "| gap | residual | gap by NumPy | residual by NumPy |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.data} | {r.loss} | {r.penalty} | {r.solver} | {'yes' if r.converged else '**no**'} "
        f"| {r.n_iter} | {r.n_passes:.0f} | {r.seconds:.2f} | {r.value:.6f} | {r.zeros:.0%} "
        f"| {_number(r.gap, '.1e')} | {_number(r.residual, '.1e')} "
        f"| {_number(r.gap_by_numpy, '.1e')} | {_number(r.residual_by_numpy, '.1e')} |"
        for r in rows
    ]
    alphas = ", ".join(f"{d.alpha:g} for {name}" for name, d in DATA_SETS.items())
    lines += [
        "",
        f"Strengths: alpha is {alphas}; `L2(alpha / 2)`, `L1(alpha)`, "
        "`ElasticNet.from_l1_ratio(alpha, 0.5)`, `GroupL1(alpha * sqrt(n_outputs))`. satimage "
        "and golub are standardised, two classes have the binary form.",
    ]
    if failed := [r for r in rows if not r.converged]:
        lines += ["", f"Not converged: {len(failed)} of {len(rows)}.", ""]
        lines += [f"- {r.data}, {r.loss}, {r.penalty}: {r.message}" for r in failed]
    else:
        lines += ["", f"All {len(rows)} converged."]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--data", action="append", choices=DATA_SETS, help="default: all")
    parser.add_argument("--loss", action="append", choices=LOSSES, help="default: all")
    parser.add_argument("--penalty", action="append", choices=PENALTIES, help="default: all")
    parser.add_argument("--tol", type=float, default=1e-4)
    parser.add_argument("--dtype", choices=("float32", "float64"), help="default: the fit's own")
    parser.add_argument("--seconds", type=float, default=120.0, help="cap of one fit")
    given = parser.parse_args()
    arguments: dict[str, Any] = {"tol": given.tol} | ({"dtype": given.dtype} if given.dtype else {})
    given.output.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for name in given.data or DATA_SETS:
        try:
            X, y = training_part(DATA_SETS[name].file)
        except FileNotFoundError as error:
            sys.stdout.write(f"{name} is left out: {error}\n")
            continue
        for loss in DATA_SETS[name].losses:
            for penalty in PENALTIES:
                if loss not in (given.loss or LOSSES) or penalty not in (given.penalty or PENALTIES):
                    continue
                rows.append(row := fit_pair(name, X, y, loss, penalty, arguments, given.seconds))
                sys.stdout.write(
                    f"{name} {loss} {penalty}: {row.solver}, {'' if row.converged else 'NOT '}converged, "
                    f"{row.n_passes:.0f} passes, {row.seconds:.2f} s\n"
                )
                sys.stdout.flush()
                # after every fit: an interrupted run leaves what it has
                (given.output / "pairs.json").write_text(json.dumps([asdict(r) for r in rows], indent=1))
                (given.output / "pairs.md").write_text(markdown(rows, arguments))


if __name__ == "__main__":
    main()
