"""What each command does: read, compute, show. The layers below know nothing of arguments or terminals."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import version
from .errors import CommandError, UsageError, require
from .terminal import Terminal, console_of

if TYPE_CHECKING:
    from .bench import Settings as BenchSettings
    from .compare import Comparison, Settings
    from .data import Dataset, ReadOptions
    from .search import Found, SearchSettings

_TABLES = {"csv", "parquet"}


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system says of a file that cannot be written into one sentence."""
    try:
        yield
    except OSError as error:
        raise CommandError(f"{path}: cannot be written ({error.strerror or error})") from error


# -- regcore info, regcore completion ------------------------------------------------------------------------


def info(arguments: argparse.Namespace) -> None:
    """``regcore info``."""
    from .info import collect, lines

    found = collect()
    if arguments.json:
        _print_json(found)
    else:
        sys.stdout.write("\n".join(lines(found)) + "\n")


def completion(arguments: argparse.Namespace) -> None:
    """``regcore completion``."""
    require("shtab", purpose="shell completion")
    import shtab

    from .arguments import parser

    found = parser()
    for parser_ in (found, *_sub_parsers(found)):
        for action in parser_._actions:  # argparse has no other way to walk them; shtab does the same
            if action.dest in {"data", "model", "save", "output"}:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
            elif action.dest == "cache":
                action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    sys.stdout.write(shtab.complete(found, shell=arguments.shell) + "\n")


def _sub_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


# -- regcore bench -------------------------------------------------------------------------------------------


def _bench_settings(arguments: argparse.Namespace) -> BenchSettings:
    from regcore._core import available_isas, info

    from .argument_types import shapes
    from .arguments import QUICK_SHAPES
    from .bench import Settings as BenchSettings
    from .cases import DENSE_SHAPES

    available = tuple(available_isas())
    isas: tuple[str, ...] = (info()["isa"],)
    if arguments.isa is not None:
        isas = available if arguments.isa == "all" else (arguments.isa,)
        if not set(isas) <= set(available):
            raise UsageError(f"--isa {arguments.isa}: this machine has {', '.join(available)}, or give all")
    chosen = arguments.shapes or (shapes(QUICK_SHAPES) if arguments.quick else DENSE_SHAPES)
    if any(shape.n_classes == 1 for shape in chosen) and "crammer_singer" in arguments.losses:
        raise UsageError("--losses crammer_singer has no binary form: give --shapes with at least 2 classes")
    return BenchSettings(
        shapes=chosen,
        dtypes=arguments.dtypes,
        losses=arguments.losses,
        peers=arguments.peers,
        n_threads=arguments.threads or info()["threads"],
        isas=isas,
        repeats=arguments.repeats or (2 if arguments.quick else 5),
        quick=arguments.quick,
    )


def bench(arguments: argparse.Namespace) -> None:
    """``regcore bench``."""
    require("rich", purpose="regcore bench")
    if arguments.save is not None:
        require("matplotlib", purpose="--save")
    from . import bench as measure
    from .progress import progress_bar

    settings = _bench_settings(arguments)
    with progress_bar(console_of(sys.stderr), "measuring", enabled=not arguments.quiet) as report:
        found = measure.run(settings, progress=report)
    if not found.measurements:
        raise CommandError(
            "nothing was measured: "
            + "; ".join(f"{one.shape} {one.storage} {one.reason}" for one in found.skipped)
        )
    from .bench_report import print_table, to_json

    if arguments.json:
        text = json.dumps(to_json(found, version()), indent=2, allow_nan=False)
        sys.stdout.write(text + "\n")
    else:
        print_table(console_of(sys.stdout, width=120), found)
    if arguments.save is not None:
        from . import roofline

        sys.stdout.flush()  # a picture that cannot be written does not cost the table
        with writing(arguments.save):
            roofline.save(arguments.save, found)


# -- reading -------------------------------------------------------------------------------------------------


def _check_combination(arguments: argparse.Namespace, kind: str) -> None:
    """Refuse an option that would silently do nothing."""
    needs = {
        "features": ({"images"}, "a folder of images"),
        "bins": ({"images"}, "a folder of images"),
        "size": ({"images"}, "a folder of images"),
        "label": (_TABLES | {"npy"}, "a .csv, .parquet or .npy file"),
        "text": (_TABLES, "a .csv or .parquet file"),
        "drop": (_TABLES, "a .csv or .parquet file"),
        "encoding": ({"csv", "texts"}, "a .csv file or a folder of texts"),
    }
    for option, (kinds, what) in needs.items():
        if getattr(arguments, option) is not None and kind not in kinds:
            raise UsageError(f"--{option} goes with {what} as DATA")
    if arguments.skip_damaged and kind != "images":
        raise UsageError("--skip-damaged goes with a folder of images as DATA")
    if arguments.bins is not None and arguments.features == "pixels":
        raise UsageError("--bins goes with --features hsv-histogram")
    if arguments.size is not None and arguments.features != "pixels":
        raise UsageError("--size goes with --features pixels")


def _read_options(arguments: argparse.Namespace, kind: str) -> ReadOptions:
    from .data import ReadOptions

    images = None
    if kind == "images":
        require("PIL", purpose="reading images")
        from .images import ImageFeatures

        images = ImageFeatures(
            kind=arguments.features or "hsv-histogram",
            bins=arguments.bins or (8, 8, 8),
            size=arguments.size or (32, 32),
        )
    return ReadOptions(
        label=arguments.label,
        text=arguments.text,
        drop=arguments.drop or (),
        encoding=arguments.encoding,
        images=images,
        skip_damaged=arguments.skip_damaged,
        cache=None if arguments.cache is None else arguments.cache.expanduser(),
        n_threads=arguments.threads,
    )


def _read(arguments: argparse.Namespace, terminal: Terminal) -> Dataset:
    """Read DATA, with progress and remarks on stderr."""
    from .data import kind_of, load

    kind = kind_of(arguments.data)
    _check_combination(arguments, kind)
    options = _read_options(arguments, kind)
    with terminal.progress(f"reading {kind}", enabled=kind in {"images", "texts"}) as report:
        dataset = load(arguments.data, replace(options, progress=report))
    terminal.remark(*dataset.notes)
    if dataset.skipped:
        count = len(dataset.skipped)
        what = f"1 damaged image left out: {dataset.skipped[0]}"
        if count > 1:
            what = f"{count} damaged images left out, the first of them {dataset.skipped[0]}"
        terminal.remark(what)
    return dataset


def _check_powers(dataset: Dataset, option: str, powers: Sequence[float]) -> None:
    """Refuse roots of negative numbers."""
    from .scaling import has_negative

    if set(powers) != {1.0} and has_negative(dataset.X):
        raise UsageError(f"{option}: {dataset.name} has negative values, which have no roots; give 1")


# -- regcore compare -----------------------------------------------------------------------------------------


def _settings(arguments: argparse.Namespace, penalties: Any, power: float) -> Settings:
    from .compare import Settings

    return Settings(
        penalties=penalties,
        alpha=arguments.alpha,
        l1_ratio=arguments.l1_ratio,
        loss=arguments.loss,
        solver=arguments.solver,
        max_iter=arguments.epochs,
        power=power,
        n_seeds=arguments.seeds,
        first_seed=arguments.seed,
        test_size=arguments.test_size,
        n_threads=arguments.threads,
    )


def _compare(
    arguments: argparse.Namespace, dataset: Dataset, terminal: Terminal, penalties: Any, power: float
) -> Comparison:
    from .compare import compare_penalties

    _check_powers(dataset, "--power", (power,))
    with terminal.interrupts() as interrupted, terminal.progress("training") as report:
        comparison = compare_penalties(
            dataset, _settings(arguments, penalties, power), progress=report, interrupted=interrupted.is_set
        )
    terminal.remark(*comparison.notes)
    return comparison


def compare(arguments: argparse.Namespace) -> None:
    """``regcore compare``."""
    require("scipy", "rich", purpose="regcore compare")
    if arguments.save is not None:
        require("matplotlib", purpose="--save")
    terminal = Terminal(quiet=arguments.quiet)
    dataset = _read(arguments, terminal)
    comparison = _compare(arguments, dataset, terminal, arguments.penalties, arguments.power)
    if arguments.json:
        from .report import to_json

        _print_json(to_json(dataset, comparison, version()))
    else:
        from .report import print_table

        print_table(console_of(sys.stdout), dataset, comparison)
    if arguments.save is not None:
        from .picture import save

        sys.stdout.flush()  # a picture that cannot be written does not cost the table
        with writing(arguments.save):
            save(arguments.save, dataset, comparison)


# -- regcore tune --------------------------------------------------------------------------------------------


def _search_settings(arguments: argparse.Namespace, penalties: Any) -> SearchSettings:
    from .search import SearchSettings

    counted = isinstance(arguments.strengths, int)
    return SearchSettings(
        penalties=penalties,
        alphas=None if counted else arguments.strengths,
        n_alphas=arguments.strengths if counted else len(arguments.strengths),
        l1_ratio=arguments.l1_ratio,
        loss=arguments.loss,
        n_folds=arguments.folds,
        seed=arguments.seed,
        max_iter=arguments.max_iter,
        n_threads=arguments.threads,
    )


def _search(
    arguments: argparse.Namespace, dataset: Dataset, settings: SearchSettings, terminal: Terminal
) -> Found:
    from .powers import search_powers
    from .search import at_the_edge

    if arguments.powers is not None:
        _check_powers(dataset, "--powers", arguments.powers)
    with terminal.interrupts() as interrupted, terminal.progress("searching") as report:
        found = search_powers(
            dataset, settings, arguments.powers, progress=report, interrupted=interrupted.is_set
        )
    terminal.remark(*found.notes)
    edge = at_the_edge(found)
    if edge is not None:
        terminal.remark(edge)
    return found


def tune(arguments: argparse.Namespace) -> None:
    """``regcore tune``."""
    require("scipy", "rich", purpose="regcore tune")
    if arguments.output is not None:
        require("safetensors", purpose="saving a model")
    from .tune import finish, hold_out, print_table, to_json

    terminal = Terminal(quiet=arguments.quiet)
    dataset = _read(arguments, terminal)
    settings = _search_settings(arguments, arguments.penalties)
    kept, left_out = hold_out(dataset, arguments.holdout, arguments.seed)
    found = _search(arguments, kept, settings, terminal)
    with terminal.interrupts() as interrupted:
        tuned = finish(dataset, kept, left_out, found)
        if interrupted.is_set():
            raise KeyboardInterrupt
    if arguments.output is not None:
        from .models import save

        with writing(arguments.output):
            save(arguments.output, tuned.model(dataset, version()))
    if arguments.json:
        _print_json(to_json(dataset, tuned, version()))
    else:
        print_table(console_of(sys.stdout), dataset, tuned, arguments.output)


# -- regcore predict -----------------------------------------------------------------------------------------


def predict(arguments: argparse.Namespace) -> None:
    """``regcore predict``."""
    require("scipy", "rich", purpose="regcore predict")
    from .data import ReadOptions, load_rows
    from .files import atomic_write
    from .models import load
    from .predict import csv_blocks, to_json
    from .predict import predict as compute

    terminal = Terminal(quiet=arguments.quiet)
    model = load(arguments.model)
    options = ReadOptions(
        encoding=arguments.encoding, skip_damaged=arguments.skip_damaged, n_threads=arguments.threads
    )
    with terminal.progress("reading", enabled=model.recipe.kind in {"images", "texts"}) as report:
        rows = load_rows(arguments.data, model.recipe, replace(options, progress=report))
    terminal.remark(*rows.notes)
    found = compute(arguments.data, model, rows, arguments.threads)
    if found.n_right is not None:
        share = 100 * found.n_right / found.n_known
        terminal.remark(f"{share:.2f} % of {found.n_known:,} samples with a label are predicted right")
        if _same_path(arguments.data, model.facts.get("data")):
            expected = 100 * float(model.facts["expected_accuracy"]["mean"])
            terminal.remark(f"the model was trained on these samples; on new ones expect {expected:.2f} %")
    blocks = (
        iter([json.dumps(to_json(found), indent=2, allow_nan=False) + "\n"])
        if arguments.json
        else csv_blocks(found)
    )
    if arguments.output is None:
        for block in blocks:
            sys.stdout.write(block)
        return
    with writing(arguments.output), atomic_write(arguments.output) as file:
        for block in blocks:
            file.write(block.encode("utf-8", "surrogateescape"))


def _same_path(path: str, other: object) -> bool:
    return isinstance(other, str) and os.path.realpath(path) == os.path.realpath(other)


# -- regcore report ------------------------------------------------------------------------------------------


def report(arguments: argparse.Namespace) -> None:
    """``regcore report``."""
    require("sklearn", "scipy", "rich", "jinja2", purpose="regcore report")
    from .compare import PENALTIES
    from .files import atomic_write
    from .page import render
    from .search import PENALTIES as SEARCHED
    from .tune import finish

    terminal = Terminal(quiet=arguments.quiet)
    dataset = _read(arguments, terminal)
    settings = _search_settings(arguments, SEARCHED)
    found = _search(arguments, dataset, settings, terminal)
    comparison = _compare(arguments, dataset, terminal, PENALTIES, found.settings.power)
    with terminal.interrupts() as interrupted:
        tuned = finish(dataset, dataset, None, found)
        page = render(
            dataset, comparison, tuned, title=arguments.title, version=version(), command=arguments.words
        )
        if interrupted.is_set():
            raise KeyboardInterrupt
    with writing(arguments.output), atomic_write(arguments.output) as file:
        file.write(page.encode("utf-8", "backslashreplace"))
    terminal.remark(f"wrote {arguments.output}")


COMMANDS = {
    "compare": compare,
    "tune": tune,
    "predict": predict,
    "report": report,
    "bench": bench,
    "info": info,
    "completion": completion,
}
"""The function of each command; it takes the parsed arguments."""
