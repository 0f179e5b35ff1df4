"""The command line: what each command takes, and its help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from . import argument_types as kinds
from . import help_texts as texts

_PENALTIES = ("none", "l1", "l2", "elasticnet")
_LOSSES = ("cross_entropy", "hinge", "squared_hinge", "crammer_singer")
_SOLVERS = ("sgd", "fista", "lbfgs", "newton-cd", "dual", "auto")
_DTYPES = ("float32", "float64", "float16", "uint8", "int8")
QUICK_SHAPES = "4000x64x2,2000x784x10"


def version() -> str:
    """The version of the installed package."""
    from importlib import metadata

    return metadata.version("regcore")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        sys.stdout.write(f"regcore {version()}\n")
        parser.exit()


_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add_command(
    commands: _Commands, name: str, help: str, description: str, more: str = ""
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=more + texts.EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def parser() -> argparse.ArgumentParser:
    """The parser of ``regcore``; ``command`` in its answer is the name of the command."""
    found = argparse.ArgumentParser(
        prog="regcore",
        description="Regularised linear classifiers on a CPU.",
        epilog="Try `regcore compare` first. `regcore COMMAND --help` explains a command.\n\n"
        + texts.EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    commands = found.add_subparsers(dest="command", metavar="COMMAND", required=True)
    _add_compare(commands)
    _add_tune(commands)
    _add_predict(commands)
    _add_report(commands)
    _add_bench(commands)

    info = commands.add_parser(
        "info",
        help="show what this installation uses: CPU level, threads, build, packages",
        description="Show the version, the CPU level in use and those available (REGCORE_ISA forces one),\n"
        "threads, build, and the versions of the packages that regcore can use.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    info.add_argument("--json", action="store_true", help="print JSON")

    completion = _add_command(
        commands, "completion", "print a script that completes commands in your shell", texts.COMPLETION,
        texts.COMPLETION_MORE,
    )  # fmt: skip
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    return found


def _add_reading(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "data", metavar="DATA", nargs="?", help="folder or file; nothing: the digits (see below)"
    )
    group = command.add_argument_group("reading")
    group.add_argument(
        "--label",
        metavar="NAME",
        help="label column of a table: its name, or its number from 1 (default: the last); of an .npy the"
        " file with the labels",
    )
    group.add_argument(
        "--text", metavar="NAME", help="column of a table with texts, which become tf-idf weights"
    )
    group.add_argument(
        "--drop",
        type=kinds.names,
        metavar="A,B,...",
        help="columns of a table to leave out, by name or number",
    )
    group.add_argument(
        "--features",
        choices=("hsv-histogram", "pixels"),
        help="of images: a histogram of colours (hue, saturation, value; the default) or their pixels",
    )
    group.add_argument(
        "--bins",
        type=kinds.times(3, "8x8x8"),
        metavar="HxSxV",
        help="bins of the histogram over hue, saturation and value (default 8x8x8)",
    )
    group.add_argument(
        "--size",
        type=kinds.times(2, "32x32"),
        metavar="WxH",
        help="with --features pixels, width and height to which every image is stretched (default 32x32)",
    )
    group.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        help="keep what was read from a folder or table here, and take it from here the next time",
    )
    _add_encoding_and_damage(group)


def _add_encoding_and_damage(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--encoding", metavar="NAME", help="of a .csv or of texts (default UTF-8)")
    group.add_argument(
        "--skip-damaged", action="store_true", help="leave out images that cannot be read, and count them"
    )


def _add_threads(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--threads", type=kinds.positive_int, metavar="N", help="for reading and training (default: all CPUs)"
    )


def _add_seed(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--seed",
        type=kinds.seed,
        default=0,
        metavar="N",
        help="makes every figure repeatable; another one, other splits (default %(default)s)",
    )


def _add_loss(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--loss", choices=_LOSSES, default=_LOSSES[0], help="what is minimised (default %(default)s)"
    )


def _add_l1_ratio(group: argparse._ArgumentGroup, kind: Callable[[str], float]) -> None:
    group.add_argument(
        "--l1-ratio",
        type=kind,
        default=0.5,
        metavar="R",
        help="share of l1 in elasticnet (default %(default)s)",
    )


def _add_splits(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--seeds",
        type=kinds.positive_int,
        default=5,
        metavar="N",
        help="number of random splits (default %(default)s)",
    )
    group.add_argument(
        "--test-size",
        type=kinds.test_size,
        default=0.25,
        metavar="SHARE",
        help="share of the samples that is kept for scoring (default %(default)s)",
    )


def _add_power(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--power",
        type=kinds.positive_ratio,
        default=1.0,
        metavar="P",
        help="raise every value to this power first: 0.5 takes square roots, which suits histograms"
        " (default 1)",
    )


def _add_comparing(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--alpha",
        type=kinds.alpha,
        help="strength of the penalties, in the sense of scikit-learn's SGDClassifier (default: 0.05 times"
        " the largest standard deviation of a feature, over the square root of the number of training"
        " samples, rounded to one digit; no labels are looked at)",
    )
    group.add_argument(
        "--solver", choices=_SOLVERS, default=_SOLVERS[0], help="how it is minimised (default %(default)s)"
    )
    group.add_argument(
        "--epochs",
        type=kinds.positive_int,
        metavar="N",
        help="passes of sgd over the training samples (default 20); for other solvers the most iterations,"
        " max_iter (default 1000)",
    )
    _add_splits(group)


def _add_searching(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--strengths",
        type=kinds.strengths,
        default=12,
        metavar="N|A,B,...",
        help="how many to try of each penalty (default %(default)s), or which",
    )
    group.add_argument(
        "--powers",
        type=kinds.powers,
        metavar="A,B,...",
        help="powers of the features to try, as 1,0.5 for themselves and their square roots (default:"
        " 1,0.5,0.25 for dense fractions between 0 and 1, as in histograms, 1 for others)",
    )
    group.add_argument(
        "--folds",
        type=kinds.folds,
        default=5,
        metavar="N",
        help="of the cross-validation (default %(default)s)",
    )
    group.add_argument(
        "--max-iter",
        type=kinds.positive_int,
        metavar="N",
        help="most iterations of a fit, each of which starts from the one before (default 300)",
    )


def _add_quiet(group: argparse._ArgumentGroup, *, json: bool = True) -> None:
    if json:
        group.add_argument(
            "--json", action="store_true", help="print JSON, and nothing else, to standard output"
        )
    group.add_argument("--quiet", action="store_true", help="no progress bars and no remarks, errors only")


def _add_compare(commands: _Commands) -> None:
    compare = _add_command(
        commands, "compare", "train one classifier per penalty and compare their accuracies", texts.COMPARE,
        texts.COMPARE_MORE,
    )  # fmt: skip
    _add_reading(compare)
    group = compare.add_argument_group("training")
    group.add_argument(
        "--penalties",
        type=kinds.listed(_PENALTIES),
        default=_PENALTIES,
        metavar="A,B,...",
        help=f"which to compare (default {','.join(_PENALTIES)})",
    )
    _add_l1_ratio(group, kinds.l1_ratio)
    _add_loss(group)
    _add_comparing(group)
    _add_power(group)
    _add_seed(group)
    _add_threads(group)
    group = compare.add_argument_group("showing")
    group.add_argument(
        "--save", type=kinds.picture, metavar="FILE", help="draw the table as a picture: .png, .svg or .pdf"
    )
    _add_quiet(group)


def _add_tune(commands: _Commands) -> None:
    tune = _add_command(
        commands,
        "tune",
        "find the best penalty and strength, and save the model",
        texts.TUNE,
        texts.TUNE_MORE,
    )
    _add_reading(tune)
    group = tune.add_argument_group("searching")
    group.add_argument(
        "--penalties",
        type=kinds.listed(_PENALTIES[1:]),
        default=_PENALTIES[1:],
        metavar="A,B,...",
        help=f"which to try (default {','.join(_PENALTIES[1:])})",
    )
    _add_l1_ratio(group, kinds.positive_ratio)
    _add_searching(group)
    _add_loss(group)
    group.add_argument(
        "--holdout",
        type=kinds.test_size,
        metavar="SHARE",
        help="keep a share of the samples out of the search, and score its winner on them, too",
    )
    _add_seed(group)
    _add_threads(group)
    group = tune.add_argument_group("showing")
    group.add_argument(
        "-o", "--output", type=kinds.output, metavar="MODEL", help="save the winner, trained on all"
    )
    _add_quiet(group)


def _add_predict(commands: _Commands) -> None:
    predict = _add_command(
        commands, "predict", "let a saved model predict new samples", texts.PREDICT, texts.PREDICT_MORE
    )
    predict.add_argument("model", metavar="MODEL", help="a file that `regcore tune` saved")
    predict.add_argument("data", metavar="DATA", help="a folder or file of the kind the model was trained on")
    group = predict.add_argument_group("reading")
    _add_encoding_and_damage(group)
    _add_threads(group)
    group = predict.add_argument_group("showing")
    group.add_argument(
        "-o", "--output", type=kinds.output, metavar="FILE", help="write there, not to standard output"
    )
    group.add_argument("--json", action="store_true", help="write JSON instead of CSV")
    _add_quiet(group, json=False)


def _add_report(commands: _Commands) -> None:
    report = _add_command(
        commands, "report", "the experiment as one page of HTML", texts.REPORT, texts.REPORT_MORE
    )
    _add_reading(report)
    group = report.add_argument_group("training")
    _add_loss(group)
    _add_l1_ratio(group, kinds.positive_ratio)
    _add_comparing(group)
    _add_searching(group)
    _add_seed(group)
    _add_threads(group)
    group = report.add_argument_group("showing")
    group.add_argument(
        "-o",
        "--output",
        type=kinds.output,
        metavar="PAGE",
        required=True,
        help="the page to write, as page.html",
    )
    group.add_argument("--title", help="heading of the page (default: the name of DATA)")
    _add_quiet(group, json=False)


def _add_bench(commands: _Commands) -> None:
    bench = _add_command(
        commands, "bench", "measure loss and gradient against the limits of this machine, and against others",
        texts.BENCH, texts.BENCH_MORE,
    )  # fmt: skip

    group = bench.add_argument_group("what to measure")
    group.add_argument(
        "--shapes",
        type=kinds.shapes,
        metavar="NxDxC,...",
        help="samples x features x classes (default: eight, from 400000x64x2 to 8192x2048x5000)",
    )
    group.add_argument(
        "--dtypes",
        type=kinds.listed(_DTYPES),
        default=_DTYPES[:2],
        metavar="A,B,...",
        help=f"types of X, some of {', '.join(_DTYPES)} (default float32,float64, which are the type of the"
        " computation, too; for the others that is float32)",
    )
    group.add_argument(
        "--losses",
        type=kinds.listed(_LOSSES),
        default=_LOSSES[:2],
        metavar="A,B,...",
        help=f"some of {', '.join(_LOSSES)} (default cross_entropy,hinge)",
    )
    group.add_argument(
        "--peers",
        type=kinds.bench_peers,
        default=kinds.PEERS,
        metavar="A,B,...",
        help="all (the default: those that are installed), none, or some of numpy (the reference in plain"
        " NumPy), sklearn, torch, jax",
    )

    group = bench.add_argument_group("how to measure")
    group.add_argument(
        "--threads", type=kinds.positive_int, metavar="N", help="threads of all (default: all CPUs)"
    )
    group.add_argument(
        "--isa",
        metavar="LEVEL",
        help="CPU level of regcore, one that `regcore info` lists, or all of them (default: the one in use)",
    )
    group.add_argument(
        "--repeats",
        type=kinds.positive_int,
        metavar="N",
        help="turns of each (default 5, with --quick 2; calls above half a second have 3 at most)",
    )
    group.add_argument(
        "--quick",
        action="store_true",
        help=f"a look: shapes {QUICK_SHAPES.replace(',', ', ')}, two turns, few pauses: no figures to quote",
    )

    group = bench.add_argument_group("showing")
    group.add_argument(
        "--save", type=kinds.picture, metavar="FILE", help="draw a roofline picture: .png, .svg or .pdf"
    )
    group.add_argument("--json", action="store_true", help="print JSON, and nothing else, to standard output")
    group.add_argument("--quiet", action="store_true", help="no progress bar, errors only")
