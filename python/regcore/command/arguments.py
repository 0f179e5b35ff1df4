"""The command line: what each command takes, and its help."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from .cases import Shape

_PENALTIES = ("none", "l1", "l2", "elasticnet")
_LOSSES = ("cross_entropy", "hinge", "squared_hinge", "crammer_singer")
_SOLVERS = ("sgd", "fista", "lbfgs", "dual", "auto")
_DTYPES = ("float32", "float64", "float16", "uint8", "int8")
_PEERS = ("numpy", "sklearn", "torch", "jax")
QUICK_SHAPES = "4000x64x2,2000x784x10"
_PICTURES = (".png", ".svg", ".pdf")

_EXIT_CODES = """\
exit codes:
  0    done
  1    failed otherwise: an optional package is missing, the picture cannot be written, memory runs out
  2    the command line is wrong
  3    the data is: a file is missing, damaged or of the wrong form (the message names it)
  130  stopped with Ctrl-C; no file is left half-written
"""

_DATA = """\
what DATA can be:
  nothing        scikit-learn's bundled digits (1797 images, no download)
  a folder       one sub-folder of images per class (JPEG, PNG, WebP, TIFF, ...):
                     photos/cats/1.jpg  photos/cats/2.jpg  photos/dogs/1.jpg  ...
                 or of texts (.txt, .md), which become tf-idf weights of their words
  name.csv       one row per sample, a header or none; --label names the label column,
                 --text a column of texts; words become one column per category
  name.parquet   the same, read by pyarrow: pip install "regcore[parquet]"
  name.npz       NumPy arrays X and y, and if you like the class names as classes;
                 or X_train, y_train, X_test, y_test: the parts are put together,
                 since every seed makes a split of its own;
                 or for sparse data X_data, X_indices, X_indptr, X_shape (also
                 X_train_data, ...) in place of X. Pickled objects are never read
  name.npy       the array X, its labels in y.npy beside X.npy or where --label says
  name.svm       svmlight/libsvm text (also .svmlight, .libsvm, .txt)

scaling: 8-bit numbers are divided by 255 (by their maximum if they do not use
the range), numbers within [-1, 1] stay as they are, others are standardised with
the mean and variance of the training part, or if sparse divided by the largest
magnitude of their column. The line below the table says what was done.

"""

_COMPARE = """\
Does it matter how a linear classifier is regularised? Train one per penalty on
three quarters of your samples, score it on the rest, repeat that with other
splits (seeds), and print the accuracies side by side, and which differences are
more than chance:

  none        no penalty
  l1          keeps weights small and sets many to exactly zero
  l2          keeps weights small
  elasticnet  a mixture of both
"""

_COMPARE_MORE = (
    _DATA
    + """\
examples:
  regcore compare
      the digits, four penalties, five seeds
  regcore compare photos --save photos.png
      colour histograms of your own photos, and a picture of the table
  regcore compare photos --features pixels --size 24x24 --penalties none,l2
      their pixels instead
  regcore compare flowers.csv --label species --alpha 0.001 --seeds 10
      a table of numbers, a strength of your own, more seeds
  regcore compare mails.csv --label folder --text body --drop date
      a column of texts
  regcore compare text.npz --loss hinge --json > result.json
      for another program

"""
)

_TUNE = """\
Which penalty, how strong, and what accuracy to expect? Every candidate is trained
on all folds but one, in turn, and scored on the one left out; the best is trained
again on all samples and saved.

The accuracy to expect of it is not the best of the scores, which is too high: the
choice itself is judged, by a bootstrap over the left-out predictions (Tsamardinos
et al., 2018), which also gives the interval at 95 %.
"""

_TUNE_MORE = (
    _DATA
    + """\
examples:
  regcore tune photos -o photos.model
      twelve strengths of three penalties in five folds, and a model
  regcore tune photos -o photos.model --cache ~/.cache/regcore
      keep the histograms for the next command
  regcore tune flowers.csv --label species -o flowers.model --holdout 0.25
      score the winner on a quarter that no fold has seen, too
  regcore tune genes.npz --penalties l1 --strengths 0.3,0.1,0.03 --folds 10 --json
      strengths of your own; nothing is saved without -o

"""
)

_PREDICT = """\
Let a model that `regcore tune` saved predict new samples: a CSV with a line for
each, its predicted class and, of models trained with cross_entropy, the
probability of every class.
"""

_PREDICT_MORE = """\
DATA is of the kind that the model was trained on: images, texts, a table with the
same columns, or numbers. It may be one image or text alone. Where it has labels
(a folder per class, the label column), the accuracy is told, too.

examples:
  regcore predict photos.model new_photos -o predictions.csv
  regcore predict photos.model holiday.jpg
      to standard output
  regcore predict flowers.model garden.csv --json

"""

_REPORT = """\
The experiment as one page of HTML that needs nothing else: the data, `compare`'s
table, `tune`'s curves of accuracy over strength, the weights as pictures or as the
words and columns that count most, the confusion matrix, the worst mistakes, and
how to do it again. It reads well on a phone, in dark mode and on paper.
"""

_REPORT_MORE = (
    _DATA
    + """\
examples:
  regcore report photos -o photos.html
  regcore report flowers.csv --label species -o flowers.html --seeds 10
  regcore report mails.csv --label folder --text body -o mails.html --folds 3

"""
)

_COMPLETION = """\
Print a script that completes commands, options and files in your shell.
"""

_COMPLETION_MORE = """\
examples:
  regcore completion bash > ~/.local/share/bash-completion/completions/regcore
  regcore completion zsh > "${fpath[1]}/_regcore"
  eval "$(regcore completion bash)"
      for this shell alone

"""


_BENCH = """\
How near the limit of this machine is a loss with its gradient, and how near are
NumPy, scikit-learn, PyTorch and JAX, where they are installed?

  limit = max( bytes of X / bandwidth, 4 N D C operations / peak )

X is read once, and N samples of D features take two matrix products with C
classes. Bandwidth and peak are measured between the turns of the same run, with
the threads and in the type of the computation. 1.00 would be perfect.
"""

_BENCH_MORE = """\
how it is measured:
  regcore and the peers have turns (regcore, a peer, regcore, the next peer, ...),
  and the median of all calls counts. After a peer's turn there is a pause of
  0.3 s: the threads of a BLAS or of OpenMP spin for some time after their work,
  and would take a core from whoever comes next. Every answer is checked against
  the NumPy reference in float64 first; if one differs by more than rounding,
  there are no figures (exit code 1).
  Peers get X in the type of the computation, converted before the clock starts,
  where X is stored in a smaller one. Arrays that need more than half of the
  available memory are left out, and named. The whole table takes some ten
  minutes; other programs that run meanwhile spoil it.

examples:
  regcore bench --quick
      a look, in seconds: too small for figures to quote
  regcore bench --save roofline.png --json > bench.json
      everything, with a picture, for another program
  regcore bench --shapes 60000x784x10 --dtypes float32,uint8 --losses hinge
      one shape of your own; 1 class is the binary form
  regcore bench --isa all --peers none
      what every CPU level that this machine has reaches

"""


def _positive_int(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def _number(text: str, accept: Callable[[float], bool], allowed: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not accept(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number {allowed}")
    return value


def _seed(text: str) -> int:
    value = int(text) if text.isdecimal() else -1
    if not 0 <= value < 2**31:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 on")
    return value


def _folds(text: str) -> int:
    value = _positive_int(text)
    if value < 2:
        raise argparse.ArgumentTypeError(f"{text!r}: at least 2 folds are needed")
    return value


def _strengths(text: str) -> int | tuple[float, ...]:
    """A number of strengths, or strengths of the user's own."""
    if text.isdecimal():
        return _positive_int(text)
    return tuple(_alpha(item.strip()) for item in text.split(",") if item.strip())


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise argparse.ArgumentTypeError(f"{text!r}: give names of columns, separated by commas")
    return names


def _powers(text: str) -> tuple[float, ...]:
    found = tuple(dict.fromkeys(_positive_ratio(item.strip()) for item in text.split(",") if item.strip()))
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: give powers such as 1,0.5, separated by commas")
    return found


def _positive_ratio(text: str) -> float:
    return _number(text, lambda value: 0 < value <= 1, "between 0 and 1, and not 0")


def _alpha(text: str) -> float:
    return _number(text, lambda value: 0 < value < float("inf"), "above 0")


def _l1_ratio(text: str) -> float:
    return _number(text, lambda value: 0 <= value <= 1, "between 0 and 1")


def _test_size(text: str) -> float:
    return _number(text, lambda value: 0 < value < 1, "between 0 and 1, both excluded")


def _times(n: int, example: str) -> Callable[[str], tuple[int, ...]]:
    def parse(text: str) -> tuple[int, ...]:
        parts = text.lower().split("x")
        if len(parts) != n or not all(part.isdecimal() and 0 < int(part) <= 4096 for part in parts):
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form {example}")
        return tuple(map(int, parts))

    return parse


def _listed(allowed: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
        if not names or not set(names) <= set(allowed):
            raise argparse.ArgumentTypeError(
                f"{text!r}: give some of {', '.join(allowed)}, separated by commas"
            )
        return names

    return parse


def _bench_peers(text: str) -> tuple[str, ...]:
    if text.strip().lower() in ("all", "none"):
        return _PEERS if text.strip().lower() == "all" else ()
    return _listed(_PEERS)(text)


def shapes(text: str) -> tuple[Shape, ...]:
    """Shapes such as ``60000x784x10,4000x64x2``."""
    from .cases import Shape

    found = []
    for item in filter(None, (item.strip().lower() for item in text.split(","))):
        parts = item.split("x")
        if len(parts) != 3 or not all(part.isdecimal() and int(part) > 0 for part in parts):
            raise argparse.ArgumentTypeError(f"{item!r} is not of the form 60000x784x10")
        found.append(Shape(*map(int, parts)))
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: give shapes such as 60000x784x10, separated by commas")
    return tuple(dict.fromkeys(found))


def _picture(text: str) -> Path:
    if Path(text).suffix.lower() not in _PICTURES:
        raise argparse.ArgumentTypeError(f"{text!r} does not end in {', '.join(_PICTURES)}")
    return _output(text)


def _output(text: str) -> Path:
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(path.parent)!r} to save in")
    if not os.access(folder, os.W_OK):
        raise argparse.ArgumentTypeError(f"the folder {str(path.parent)!r} is not writable")
    return path


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
        epilog=more + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def parser() -> argparse.ArgumentParser:
    """The parser of ``regcore``; ``command`` in its answer is the name of the command."""
    found = argparse.ArgumentParser(
        prog="regcore",
        description="Regularised linear classifiers on a CPU.",
        epilog="Try `regcore compare` first. `regcore COMMAND --help` explains a command.\n\n" + _EXIT_CODES,
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
        commands, "completion", "print a script that completes commands in your shell", _COMPLETION,
        _COMPLETION_MORE,
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
        "--drop", type=_names, metavar="A,B,...", help="columns of a table to leave out, by name or number"
    )
    group.add_argument(
        "--features",
        choices=("hsv-histogram", "pixels"),
        help="of images: a histogram of colours (hue, saturation, value; the default) or their pixels",
    )
    group.add_argument(
        "--bins",
        type=_times(3, "8x8x8"),
        metavar="HxSxV",
        help="bins of the histogram over hue, saturation and value (default 8x8x8)",
    )
    group.add_argument(
        "--size",
        type=_times(2, "32x32"),
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
        "--threads", type=_positive_int, metavar="N", help="for reading and training (default: all CPUs)"
    )


def _add_seed(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--seed",
        type=_seed,
        default=0,
        metavar="N",
        help="makes every figure repeatable; another one, other splits (default %(default)s)",
    )


def _add_loss(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--loss", choices=_LOSSES, default=_LOSSES[0], help="what is minimised (default %(default)s)"
    )


def _add_splits(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--seeds",
        type=_positive_int,
        default=5,
        metavar="N",
        help="number of random splits (default %(default)s)",
    )
    group.add_argument(
        "--test-size",
        type=_test_size,
        default=0.25,
        metavar="SHARE",
        help="share of the samples that is kept for scoring (default %(default)s)",
    )


def _add_power(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--power",
        type=_positive_ratio,
        default=1.0,
        metavar="P",
        help="raise every value to this power first: 0.5 takes square roots, which suits histograms and"
        " tf-idf (default 1)",
    )


def _add_comparing(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--alpha",
        type=_alpha,
        help="strength of the penalties, in the sense of scikit-learn's SGDClassifier (default: 0.05 times"
        " the largest standard deviation of a feature, over the square root of the number of training"
        " samples, rounded to one digit; no labels are looked at)",
    )
    group.add_argument(
        "--solver", choices=_SOLVERS, default=_SOLVERS[0], help="how it is minimised (default %(default)s)"
    )
    group.add_argument(
        "--epochs",
        type=_positive_int,
        metavar="N",
        help="passes of sgd over the training samples (default 20); for other solvers the most iterations,"
        " max_iter (default 1000)",
    )
    _add_splits(group)


def _add_searching(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--strengths",
        type=_strengths,
        default=12,
        metavar="N|A,B,...",
        help="how many to try of each penalty (default %(default)s), or which",
    )
    group.add_argument(
        "--powers",
        type=_powers,
        metavar="A,B,...",
        help="powers of the features to try, as 1,0.5 for themselves and their square roots (default:"
        " 1,0.5,0.25 for fractions between 0 and 1, as in histograms and tf-idf, 1 for others)",
    )
    group.add_argument(
        "--folds", type=_folds, default=5, metavar="N", help="of the cross-validation (default %(default)s)"
    )
    group.add_argument(
        "--max-iter",
        type=_positive_int,
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
        commands, "compare", "train one classifier per penalty and compare their accuracies", _COMPARE,
        _COMPARE_MORE,
    )  # fmt: skip
    _add_reading(compare)
    group = compare.add_argument_group("training")
    group.add_argument(
        "--penalties",
        type=_listed(_PENALTIES),
        default=_PENALTIES,
        metavar="A,B,...",
        help=f"which to compare (default {','.join(_PENALTIES)})",
    )
    group.add_argument(
        "--l1-ratio", type=_l1_ratio, default=0.5, metavar="R", help="share of l1 in elasticnet (default 0.5)"
    )
    _add_loss(group)
    _add_comparing(group)
    _add_power(group)
    _add_seed(group)
    _add_threads(group)
    group = compare.add_argument_group("showing")
    group.add_argument(
        "--save", type=_picture, metavar="FILE", help="draw the table as a picture: .png, .svg or .pdf"
    )
    _add_quiet(group)


def _add_tune(commands: _Commands) -> None:
    tune = _add_command(
        commands, "tune", "find the best penalty and strength, and save the model", _TUNE, _TUNE_MORE
    )
    _add_reading(tune)
    group = tune.add_argument_group("searching")
    group.add_argument(
        "--penalties",
        type=_listed(_PENALTIES[1:]),
        default=_PENALTIES[1:],
        metavar="A,B,...",
        help=f"which to try (default {','.join(_PENALTIES[1:])})",
    )
    group.add_argument(
        "--l1-ratio",
        type=_positive_ratio,
        default=0.5,
        metavar="R",
        help="share of l1 in elasticnet (default 0.5)",
    )
    _add_searching(group)
    _add_loss(group)
    group.add_argument(
        "--holdout",
        type=_test_size,
        metavar="SHARE",
        help="keep a share of the samples out of the search, and score its winner on them, too",
    )
    _add_seed(group)
    _add_threads(group)
    group = tune.add_argument_group("showing")
    group.add_argument(
        "-o", "--output", type=_output, metavar="MODEL", help="save the winner, trained on all"
    )
    _add_quiet(group)


def _add_predict(commands: _Commands) -> None:
    predict = _add_command(
        commands, "predict", "let a saved model predict new samples", _PREDICT, _PREDICT_MORE
    )
    predict.add_argument("model", metavar="MODEL", help="a file that `regcore tune` saved")
    predict.add_argument("data", metavar="DATA", help="a folder or file of the kind the model was trained on")
    group = predict.add_argument_group("reading")
    _add_encoding_and_damage(group)
    _add_threads(group)
    group = predict.add_argument_group("showing")
    group.add_argument(
        "-o", "--output", type=_output, metavar="FILE", help="write there, not to standard output"
    )
    group.add_argument("--json", action="store_true", help="write JSON instead of CSV")
    _add_quiet(group, json=False)


def _add_report(commands: _Commands) -> None:
    report = _add_command(commands, "report", "the experiment as one page of HTML", _REPORT, _REPORT_MORE)
    _add_reading(report)
    group = report.add_argument_group("training")
    _add_loss(group)
    group.add_argument(
        "--l1-ratio",
        type=_positive_ratio,
        default=0.5,
        metavar="R",
        help="share of l1 in elasticnet (default 0.5)",
    )
    _add_comparing(group)
    _add_searching(group)
    _add_seed(group)
    _add_threads(group)
    group = report.add_argument_group("showing")
    group.add_argument(
        "-o", "--output", type=_output, metavar="PAGE", required=True, help="the page to write, as page.html"
    )
    group.add_argument("--title", help="heading of the page (default: the name of DATA)")
    _add_quiet(group, json=False)


def _add_bench(commands: _Commands) -> None:
    bench = _add_command(
        commands, "bench", "measure loss and gradient against the limits of this machine, and against others",
        _BENCH, _BENCH_MORE,
    )  # fmt: skip

    group = bench.add_argument_group("what to measure")
    group.add_argument(
        "--shapes",
        type=shapes,
        metavar="NxDxC,...",
        help="samples x features x classes (default: eight, from 400000x64x2 to 8192x2048x5000)",
    )
    group.add_argument(
        "--dtypes",
        type=_listed(_DTYPES),
        default=_DTYPES[:2],
        metavar="A,B,...",
        help=f"types of X, some of {', '.join(_DTYPES)} (default float32,float64, which are the type of the"
        " computation, too; for the others that is float32)",
    )
    group.add_argument(
        "--losses",
        type=_listed(_LOSSES),
        default=_LOSSES[:2],
        metavar="A,B,...",
        help=f"some of {', '.join(_LOSSES)} (default cross_entropy,hinge)",
    )
    group.add_argument(
        "--peers",
        type=_bench_peers,
        default=_PEERS,
        metavar="A,B,...",
        help="all (the default: those that are installed), none, or some of numpy (the reference in plain"
        " NumPy), sklearn, torch, jax",
    )

    group = bench.add_argument_group("how to measure")
    group.add_argument(
        "--threads", type=_positive_int, metavar="N", help="threads of all (default: all CPUs)"
    )
    group.add_argument(
        "--isa",
        metavar="LEVEL",
        help="CPU level of regcore, one that `regcore info` lists, or all of them (default: the one in use)",
    )
    group.add_argument(
        "--repeats",
        type=_positive_int,
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
        "--save", type=_picture, metavar="FILE", help="draw a roofline picture: .png, .svg or .pdf"
    )
    group.add_argument("--json", action="store_true", help="print JSON, and nothing else, to standard output")
    group.add_argument("--quiet", action="store_true", help="no progress bar, errors only")
