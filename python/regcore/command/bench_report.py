"""The outcome of ``regcore bench`` for people (a table) and for machines (JSON)."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .bench import Benchmark, Case, Measurement, Summary, Timing
from .errors import printable
from .peers import PEERS

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
"""Number of the JSON layout; it changes when a key is renamed or removed."""


def ratio(value: float) -> str:
    """A multiple with two or three digits that matter."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds with three digits that matter."""
    value = 1000 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def shows_levels(benchmark: Benchmark) -> bool:
    """Whether another CPU level than the machine's best is measured."""
    return any(isa != benchmark.best_isa for isa in benchmark.settings.isas)


def title(benchmark: Benchmark) -> str:
    """On what it was measured."""
    n_threads = benchmark.settings.n_threads
    threads = "1 thread" if n_threads == 1 else f"{n_threads} threads"
    return f"{benchmark.machine['cpu']}, {threads}, CPU level {', '.join(benchmark.settings.isas)}"


def bandwidth_line(benchmark: Benchmark) -> str:
    """The read bandwidth of the run, and its range where it drifted."""
    found = [value / 1e9 for value in benchmark.bandwidths()]
    text = f"{statistics.median(found):.1f} GB/s"
    drifted = found[-1] > 1.05 * found[0]
    return f"{text} ({found[0]:.1f} to {found[-1]:.1f} from case to case)" if drifted else text


def peaks_line(benchmark: Benchmark, isa: str | None = None) -> str:
    """The peaks of the machine, or of one CPU level."""
    return ", ".join(
        f"{benchmark.peak(dtype, isa) / 1e9:.0f} GFLOP/s in {dtype}" for dtype in benchmark.dtypes
    )


def verdict(summary: Summary) -> str:
    """One line about one CPU level."""
    text = (
        f"regcore at {summary.isa}: geometric mean {summary.geometric_mean:.2f} x the limit,"
        f" maximum {summary.maximum:.2f} x ({summary.slowest})"
    )
    if summary.least_lead is not None and summary.most_lead is not None:
        text += f"; lead {ratio(summary.least_lead)} to {ratio(summary.most_lead)} x"
    return text


def in_order(benchmark: Benchmark) -> list[Measurement]:
    """The measurements by type and loss, in the order in which these were asked for, then by shape."""
    settings = benchmark.settings

    def place(m: Measurement) -> tuple[int, int, int]:
        case = m.case
        return (
            settings.dtypes.index(case.storage),
            settings.losses.index(case.loss),
            settings.shapes.index(case.shape),
        )

    return sorted(benchmark.measurements, key=place)


def _of_peer(measurement: Measurement, name: str) -> str:
    timing = measurement.peers.get(name)
    return "-" if timing is None else ratio(measurement.multiple(timing))


def print_table(console: Console, benchmark: Benchmark) -> None:
    """Print the limits, the table of multiples, and the summary as the last line."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    levels = shows_levels(benchmark)
    isas, names = benchmark.settings.isas, tuple(benchmark.versions)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for heading in ("X", "loss", "N x D x C"):
        table.add_column(heading, no_wrap=True)
    table.add_column("limit\nms", justify="right", no_wrap=True)
    table.add_column("set\nby", no_wrap=True)
    if levels:
        table.add_column("level", no_wrap=True)
    for heading in ("regcore\nms", "x limit"):
        table.add_column(heading, justify="right", no_wrap=True)
    if levels:
        table.add_column("x limit\nof level", justify="right", no_wrap=True)
    for name in names:
        table.add_column(f"{PEERS[name].label}\nx limit", justify="right", no_wrap=True)
    if names:
        table.add_column("lead", justify="right", no_wrap=True)

    section: tuple[str, str] | None = None
    for m in in_order(benchmark):
        case = m.case
        starts = section != (case.storage, case.loss)
        if starts and section is not None:
            table.add_section()
        section = (case.storage, case.loss)
        for k, isa in enumerate(isas):
            row: list[str | Text] = ["", "", "", "", ""]
            if k == 0:
                row = [
                    case.storage if starts else "",
                    case.loss if starts else "",
                    str(case.shape),
                    milliseconds(m.limit()),
                    "memory" if m.is_memory_bound else "FMA",
                ]
            timing = m.ours[isa]
            row += [isa] if levels else []
            row += [milliseconds(timing.median), Text(ratio(m.multiple(timing)), style="bold")]
            row += [ratio(m.multiple(timing, isa))] if levels else []
            row += [_of_peer(m, name) if k == 0 else "" for name in names]
            lead = m.lead(isa)
            row += [] if not names else ["-" if lead is None else ratio(lead)]
            table.add_row(*row)

    console.print()
    console.print(
        Text.assemble(("regcore bench", "bold"), f"  {printable(title(benchmark), console.encoding)}")
    )
    console.print(Text(f"limits: {bandwidth_line(benchmark)} read, {peaks_line(benchmark)}"), soft_wrap=True)
    console.print()
    console.print(table)
    console.print()
    for line in remarks(benchmark):
        console.print(Text(printable(line, console.encoding), style="dim"), soft_wrap=True)
    for isa in isas:
        console.print(Text(verdict(benchmark.summary(isa))), soft_wrap=True)


def remarks(benchmark: Benchmark) -> list[str]:
    """How to read the table, and what is not in it."""
    lines = [f"{one.shape} {one.storage} is left out: it {one.reason}" for one in benchmark.skipped]
    lines += benchmark.notes
    if benchmark.versions and benchmark.settings.quick:
        lines.append(
            "no figures to quote: with few pauses, threads that still spin slow down the peers that come next"
        )
    if benchmark.versions:
        versions = (f"{PEERS[name].label} {version}" for name, version in benchmark.versions.items())
        lines.append(f"peers: {', '.join(versions)}; lead: the fastest peer's time over ours")
    lines += [_errors_line(benchmark, dtype) for dtype in benchmark.dtypes]
    if shows_levels(benchmark):
        for isa in benchmark.settings.isas:
            own = benchmark.summary(isa, of_level=True)
            lines.append(
                f"level {isa}: {peaks_line(benchmark, isa)};"
                f" geometric mean {own.geometric_mean:.2f} x its own limit, maximum {own.maximum:.2f} x"
            )
    return lines


def _errors_line(benchmark: Benchmark, dtype: str) -> str:
    """The largest error of everyone, relative to the largest entry of an answer."""
    found: dict[str, float] = {}
    for m in benchmark.measurements:
        if m.case.dtype == dtype:
            named = [("regcore", timing) for timing in m.ours.values()]
            named += [(PEERS[name].label, timing) for name, timing in m.peers.items()]
            for name, timing in named:
                found[name] = max(found.get(name, 0.0), timing.error)
    errors = ", ".join(f"{name} {error:.1g}" for name, error in found.items())
    return f"largest relative error in {dtype}, against the reference in float64: {errors}"


def _case_json(case: Case) -> dict[str, Any]:
    return {
        **asdict(case.shape),
        "storage": case.storage,
        "dtype": case.dtype,
        "loss": case.loss,
        "bytes": case.n_bytes,
        "operations": case.n_operations,
        "intensity": case.intensity,
    }


def to_json(benchmark: Benchmark, version: str) -> dict[str, Any]:
    """The same as plain dictionaries, lists, strings and finite numbers. All times are in seconds."""
    settings = benchmark.settings

    def times(m: Measurement, timing: Timing) -> dict[str, Any]:
        return {
            "seconds": timing.median,
            "multiple": m.multiple(timing),
            "gflops": m.case.n_operations / timing.median / 1e9,
            "error": timing.error,
            "samples": list(timing.seconds),
        }

    def summary(isa: str) -> dict[str, Any]:
        found = benchmark.summary(isa)
        own = benchmark.summary(isa, of_level=True)
        return {
            "isa": isa,
            "geometric_mean": found.geometric_mean,
            "maximum": found.maximum,
            "slowest": str(found.slowest),
            "least_lead": found.least_lead,
            "most_lead": found.most_lead,
            "geometric_mean_of_level": own.geometric_mean,
            "maximum_of_level": own.maximum,
        }

    return {
        "schema": SCHEMA,
        "regcore": version,
        "machine": dict(benchmark.machine),
        "peers": dict(benchmark.versions),
        "settings": {
            "n_threads": settings.n_threads,
            "isas": list(settings.isas),
            "repeats": settings.repeats,
            "quick": settings.quick,
        },
        "limits": {
            "best_isa": benchmark.best_isa,
            "bandwidth": statistics.median(benchmark.bandwidths()),
            "bandwidth_range": [benchmark.bandwidths()[0], benchmark.bandwidths()[-1]],
            "peaks": [
                {"dtype": dtype, "isa": isa, "peak": benchmark.peak(dtype, isa)}
                for dtype in benchmark.dtypes
                for isa in dict.fromkeys((benchmark.best_isa, *settings.isas))
            ],
        },
        "results": [
            {
                **_case_json(m.case),
                "limit": m.limit(),
                "memory_bound": m.is_memory_bound,
                "bandwidth": m.limits.bandwidth,
                "peak": m.limits.peak(),
                "bandwidth_samples": [sample[0] for sample in m.limits.samples[benchmark.best_isa]],
                "peak_samples": [sample[1] for sample in m.limits.samples[benchmark.best_isa]],
                "regcore": [
                    {
                        "isa": isa,
                        **times(m, timing),
                        "multiple_of_level": m.multiple(timing, isa),
                        "lead": m.lead(isa),
                    }
                    for isa, timing in m.ours.items()
                ],
                "peers": [{"name": name, **times(m, timing)} for name, timing in m.peers.items()],
            }
            for m in in_order(benchmark)
        ],
        "skipped": [
            {**asdict(one.shape), "storage": one.storage, "reason": one.reason} for one in benchmark.skipped
        ],
        "summary": [summary(isa) for isa in settings.isas],
        "notes": list(benchmark.notes),
    }
