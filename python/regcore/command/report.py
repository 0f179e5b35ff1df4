"""The outcome of ``regcore compare`` for people (a table) and for machines (JSON)."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .compare import Comparison, PenaltyResult, Spread, p_value, verdict
from .data import Dataset
from .errors import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

SCHEMA = 1
"""Number of the JSON layout; it changes when a key is renamed or removed."""

LOSS_NAMES = {
    "cross_entropy": "cross-entropy (softmax) loss",
    "hinge": "hinge loss",
    "squared_hinge": "squared hinge loss",
    "crammer_singer": "Crammer-Singer hinge loss",
}


def strength(result: PenaltyResult) -> str:
    """A penalty's strength as the table shows it."""
    return "-" if result.alpha is None else f"{result.alpha:g}"


def percent(spread: Spread) -> str:
    """Mean and deviation of a share, in percent."""
    sd = "" if spread.sd is None else f" ± {100 * spread.sd:.2f}"
    return f"{100 * spread.mean:.2f}{sd}"


def title(dataset: Dataset) -> str:
    """What was classified."""
    n_samples, n_features = dataset.X.shape
    n_skipped = len(dataset.skipped)
    images = "damaged image" if n_skipped == 1 else "damaged images"
    skipped = f"; {n_skipped:,} {images} left out" if n_skipped else ""
    return f"{n_samples:,} samples, {n_features:,} features, {len(dataset.classes)} classes{skipped}"


def facts(dataset: Dataset, comparison: Comparison) -> list[tuple[str, str]]:
    """How the figures were made, as lines of a key word and a text."""
    settings = comparison.settings
    parts = f"{comparison.n_train:,} samples to train on, {comparison.n_test:,} to score"
    if settings.n_seeds > 1:
        spread = (
            f"percent, mean ± standard deviation over {settings.n_seeds} seeds; each seed is one stratified"
            f" split ({parts}), the same for all penalties"
        )
    else:
        spread = f"percent, of one stratified split ({parts})"
    passes = "epochs" if settings.solver == "sgd" else "iterations at most"
    # At a terminal or on a page, few zeros under l1 would otherwise look like a finding.
    few = any(result.penalty in ("l1", "elasticnet") for result in comparison.results)
    zeros = "; sgd leaves fewer zeros than the optimum has, which --solver auto finds"
    elastic = [result.l1_ratio for result in comparison.results if result.l1_ratio is not None]
    ratio = f"; elasticnet has l1_ratio {elastic[0]:g}" if elastic else ""
    return [
        ("accuracy", spread),
        *(
            [
                (
                    "p",
                    "chance of such a difference between equal penalties: corrected resampled t-test (Nadeau"
                    " and Bengio, 2003), adjusted for the number of pairs (Holm, 1979)",
                )
            ]
            if len(comparison.gaps) > 1
            else []
        ),
        ("features", f"{dataset.features}; {comparison.scaling.describe()}"),
        (
            "training",
            f"{LOSS_NAMES[settings.loss]}, solver {settings.solver}, {settings.iterations:,} {passes}{ratio}"
            + (zeros if few and settings.solver == "sgd" else ""),
        ),
    ]


def plain_text(console: Console, content: str, style: str = "") -> Text:
    """A text for a console of any encoding."""
    from rich.text import Text

    try:
        content.encode(console.encoding)
    except UnicodeEncodeError:
        content = printable(content.replace("±", "+-"), console.encoding)
    return Text(content, style=style)


def _gap_table(console: Console, comparison: Comparison) -> Table:
    """The differences between the penalties, pair by pair."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("difference", no_wrap=True)
    for heading in ("points", "ahead on", "p"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    n_seeds = comparison.settings.n_seeds
    for gap in comparison.gaps:
        table.add_row(
            f"{gap.better} over {gap.worse}",
            plain_text(console, f"{100 * gap.mean:.2f} ± {100 * gap.sd:.2f}"),
            f"{gap.n_wins} of {n_seeds}",
            p_value(gap.p_value).removeprefix("p = ").removeprefix("p "),
            "more than chance" if gap.exceeds_spread else "not told from chance",
        )
    return table


def print_table(console: Console, dataset: Dataset, comparison: Comparison) -> None:
    """Print the table, how it was made, and the verdict."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    def text(content: str, style: str = "") -> Text:
        return plain_text(console, content, style)

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("penalty", no_wrap=True)
    table.add_column("strength", no_wrap=True)
    for heading in ("train accuracy", "test accuracy", "zero\nweights", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for result in comparison.results:
        table.add_row(
            result.penalty,
            strength(result),
            text(percent(result.spread("train_accuracy"))),
            text(percent(result.spread("test_accuracy")), "bold"),
            f"{100 * result.spread('zero_share').mean:.1f} %",
            f"{result.spread('seconds').mean:.3f}",
        )
    console.print()
    name = printable(dataset.name, console.encoding)
    console.print(Text.assemble((name, "bold"), f"  {title(dataset)}"))
    console.print()
    console.print(table)
    console.print()
    console.print(text(verdict(comparison)))
    if len(comparison.gaps) > 1:
        console.print()
        console.print(_gap_table(console, comparison))
    console.print()
    grid = Table.grid(padding=(0, 2, 0, 0))
    for key, fact in [*facts(dataset, comparison), ("seconds", "of one training, on average")]:
        grid.add_row(text(key, "dim"), text(fact, "dim"))
    console.print(grid)


def to_json(dataset: Dataset, comparison: Comparison, version: str) -> dict[str, Any]:
    """The same as plain dictionaries, lists, strings and finite numbers.

    Shares are between 0 and 1; ``sd`` is null with one seed.
    """
    settings = comparison.settings
    n_samples, n_features = dataset.X.shape

    def values(result: PenaltyResult, field: str) -> dict[str, Any]:
        return {**asdict(result.spread(field)), "per_seed": [getattr(run, field) for run in result.runs]}

    return {
        "schema": SCHEMA,
        "regcore": version,
        "data": {
            "name": dataset.name,
            "n_samples": int(n_samples),
            "n_features": int(n_features),
            "classes": list(dataset.classes),
            "features": dataset.features,
            "scaling": comparison.scaling.describe(),
            "skipped": list(dataset.skipped),
        },
        "settings": {
            "loss": settings.loss,
            "solver": settings.solver,
            "max_iter": settings.iterations,
            "n_seeds": settings.n_seeds,
            "test_size": settings.test_size,
            "n_train": comparison.n_train,
            "n_test": comparison.n_test,
        },
        "results": [
            {
                "penalty": result.penalty,
                "alpha": result.alpha,
                "l1_ratio": result.l1_ratio,
                "seeds": [run.seed for run in result.runs],
                **{
                    field: values(result, field)
                    for field in ("train_accuracy", "test_accuracy", "zero_share", "seconds")
                },
            }
            for result in comparison.results
        ],
        "gaps": [{**asdict(gap), "exceeds_spread": gap.exceeds_spread} for gap in comparison.gaps],
        "verdict": verdict(comparison),
        "notes": [*dataset.notes, *comparison.notes],
    }
