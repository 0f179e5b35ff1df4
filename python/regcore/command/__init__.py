"""The ``regcore`` command: arguments in, a table or JSON out, an exit code that means something.

The layers below it know nothing of arguments or printing. For ``regcore compare``, `data` and `images` read,
`compare` runs the experiment, `report` and `picture` show it; for ``regcore bench``, `cases` and `peers` say
what is measured, `bench` measures, `bench_report` and `roofline` show it. Only what a sub-command needs is
imported, so that ``regcore info`` runs with NumPy alone.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from .errors import CommandError, ExitCode, UsageError, printable, require

if TYPE_CHECKING:
    from .bench import Settings as BenchSettings
    from .cases import Shape
    from .compare import Comparison, Settings
    from .data import Dataset, ReadOptions

__all__ = ["main"]

_PENALTIES = ("none", "l1", "l2", "elasticnet")
_LOSSES = ("cross_entropy", "hinge", "squared_hinge", "crammer_singer")
_SOLVERS = ("sgd", "fista", "auto")
_DTYPES = ("float32", "float64", "float16", "uint8", "int8")
_PEERS = ("numpy", "sklearn", "torch", "jax")
_QUICK_SHAPES = "4000x64x2,2000x784x10"
_PICTURES = (".png", ".svg", ".pdf")

_EXIT_CODES = """\
exit codes:
  0    done
  1    failed otherwise: an optional package is missing, the picture cannot be written, memory runs out
  2    the command line is wrong
  3    the data is: a file is missing, damaged or of the wrong form (the message names it)
  130  stopped with Ctrl-C; no file is left half-written
"""

_COMPARE = """\
Does it matter how a linear classifier is regularised? Train one per penalty on
three quarters of your samples, score it on the rest, repeat that with other
splits (seeds), and print the accuracies side by side:

  none        no penalty
  l1          keeps weights small and sets many to exactly zero
  l2          keeps weights small
  elasticnet  a mixture of both
"""

_COMPARE_MORE = """\
what DATA can be:
  nothing      scikit-learn's bundled digits (1797 images, no download)
  a folder     one sub-folder of images per class (JPEG, PNG, WebP, TIFF, ...):
                   photos/cats/1.jpg  photos/cats/2.jpg  photos/dogs/1.jpg  ...
  name.npz     NumPy arrays X and y, and if you like the class names as classes;
               or X_train, y_train, X_test, y_test: the parts are put together,
               since every seed makes a split of its own;
               or for sparse data X_data, X_indices, X_indptr, X_shape (also
               X_train_data, ...) in place of X. Pickled objects are never read
  name.csv     one row per sample, a header or none; see --label
  name.svm     svmlight/libsvm text (also .svmlight, .libsvm, .txt)

scaling: 8-bit numbers are divided by 255 (by their maximum if they do not use
the range), numbers within [-1, 1] stay as they are, others are standardised with
the mean and variance of the training part, or if sparse divided by the largest
magnitude of their column. The line below the table says what was done.

examples:
  regcore compare
      the digits, four penalties, five seeds
  regcore compare photos --save photos.png
      colour histograms of your own photos, and a picture of the table
  regcore compare photos --features pixels --size 24x24 --penalties none,l2
      their pixels instead
  regcore compare flowers.csv --label species --alpha 0.001 --seeds 10
      a table of numbers, a strength of your own, more seeds
  regcore compare text.npz --loss hinge --json > result.json
      for another program

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


def _shapes(text: str) -> tuple[Shape, ...]:
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
    path = Path(text)
    if path.suffix.lower() not in _PICTURES:
        raise argparse.ArgumentTypeError(f"{text!r} does not end in {', '.join(_PICTURES)}")
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {str(path.parent)!r} to save in")
    if not os.access(folder, os.W_OK):
        raise argparse.ArgumentTypeError(f"the folder {str(path.parent)!r} is not writable")
    return path


def _version() -> str:
    from importlib import metadata

    return metadata.version("regcore")


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        sys.stdout.write(f"regcore {_version()}\n")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="regcore",
        description="Regularised linear classifiers on a CPU.",
        epilog="Try `regcore compare` first. `regcore COMMAND --help` explains a command.\n\n" + _EXIT_CODES,
        formatter_class=plain,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and leave")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    compare = commands.add_parser(
        "compare",
        help="train one classifier per penalty and compare their accuracies",
        description=_COMPARE,
        epilog=_COMPARE_MORE + _EXIT_CODES,
        formatter_class=plain,
        allow_abbrev=False,
    )
    compare.set_defaults(run=_compare)
    compare.add_argument(
        "data", metavar="DATA", nargs="?", help="folder or file; nothing: the digits (see below)"
    )

    group = compare.add_argument_group("reading")
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
        "--skip-damaged", action="store_true", help="leave out images that cannot be read, and count them"
    )
    group.add_argument(
        "--label",
        metavar="NAME",
        help="label column of a .csv: its name, or its number from 1 (default: the last)",
    )

    group = compare.add_argument_group("training")
    group.add_argument(
        "--penalties",
        type=_listed(_PENALTIES),
        default=_PENALTIES,
        metavar="A,B,...",
        help=f"which to compare (default {','.join(_PENALTIES)})",
    )
    group.add_argument(
        "--alpha",
        type=_alpha,
        help="strength of the penalties, in the sense of scikit-learn's SGDClassifier (default: 0.05 times"
        " the largest standard deviation of a feature, over the square root of the number of training"
        " samples, rounded to one digit; no labels are looked at)",
    )
    group.add_argument(
        "--l1-ratio", type=_l1_ratio, default=0.5, metavar="R", help="share of l1 in elasticnet (default 0.5)"
    )
    group.add_argument(
        "--loss", choices=_LOSSES, default=_LOSSES[0], help="what is minimised (default %(default)s)"
    )
    group.add_argument(
        "--solver", choices=_SOLVERS, default=_SOLVERS[0], help="how it is minimised (default %(default)s)"
    )
    group.add_argument(
        "--epochs",
        type=_positive_int,
        metavar="N",
        help="passes of sgd over the training samples (default 20); for other solvers the most iterations"
        " (default 1000)",
    )
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
    group.add_argument(
        "--threads",
        type=_positive_int,
        metavar="N",
        help="for reading images and training (default: all CPUs)",
    )

    group = compare.add_argument_group("showing")
    group.add_argument(
        "--save", type=_picture, metavar="FILE", help="draw the table as a picture: .png, .svg or .pdf"
    )
    group.add_argument("--json", action="store_true", help="print JSON, and nothing else, to standard output")
    group.add_argument("--quiet", action="store_true", help="no progress bars and no remarks, errors only")

    _add_bench(commands)

    info = commands.add_parser(
        "info",
        help="show what this installation uses: CPU level, threads, build, packages",
        description="Show the version, the CPU level in use and those available (REGCORE_ISA forces one),\n"
        "threads, build, and the versions of the packages that regcore can use.",
        formatter_class=plain,
        allow_abbrev=False,
    )
    info.set_defaults(run=_info)
    info.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    bench = commands.add_parser(
        "bench",
        help="measure loss and gradient against the limits of this machine, and against others",
        description=_BENCH,
        epilog=_BENCH_MORE + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    bench.set_defaults(run=_bench)

    group = bench.add_argument_group("what to measure")
    group.add_argument(
        "--shapes",
        type=_shapes,
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
        help=f"a look: shapes {_QUICK_SHAPES.replace(',', ', ')}, two turns, few pauses: no figures to quote",
    )

    group = bench.add_argument_group("showing")
    group.add_argument(
        "--save", type=_picture, metavar="FILE", help="draw a roofline picture: .png, .svg or .pdf"
    )
    group.add_argument("--json", action="store_true", help="print JSON, and nothing else, to standard output")
    group.add_argument("--quiet", action="store_true", help="no progress bar, errors only")


# -- regcore info --------------------------------------------------------------------------------------------


def _info(arguments: argparse.Namespace) -> None:
    from .info import collect, lines

    found = collect()
    text = json.dumps(found, indent=2, allow_nan=False) if arguments.json else "\n".join(lines(found))
    sys.stdout.write(text + "\n")


# -- regcore bench -------------------------------------------------------------------------------------------


def _bench_settings(arguments: argparse.Namespace) -> BenchSettings:
    from regcore._core import available_isas, info

    from .bench import Settings as BenchSettings
    from .cases import DENSE_SHAPES

    available = tuple(available_isas())
    isas: tuple[str, ...] = (info()["isa"],)
    if arguments.isa is not None:
        isas = available if arguments.isa == "all" else (arguments.isa,)
        if not set(isas) <= set(available):
            raise UsageError(f"--isa {arguments.isa}: this machine has {', '.join(available)}, or give all")
    shapes = arguments.shapes or (_shapes(_QUICK_SHAPES) if arguments.quick else DENSE_SHAPES)
    if any(shape.n_classes == 1 for shape in shapes) and "crammer_singer" in arguments.losses:
        raise UsageError("--losses crammer_singer has no binary form: give --shapes with at least 2 classes")
    return BenchSettings(
        shapes=shapes,
        dtypes=arguments.dtypes,
        losses=arguments.losses,
        peers=arguments.peers,
        n_threads=arguments.threads or info()["threads"],
        isas=isas,
        repeats=arguments.repeats or (2 if arguments.quick else 5),
        quick=arguments.quick,
    )


def _bench(arguments: argparse.Namespace) -> None:
    require("rich", purpose="regcore bench")
    if arguments.save is not None:
        require("matplotlib", purpose="--save")
    from . import bench
    from .progress import progress_bar

    settings = _bench_settings(arguments)
    with progress_bar(_console(sys.stderr), "measuring", enabled=not arguments.quiet) as report:
        found = bench.run(settings, progress=report)
    if not found.measurements:
        raise CommandError(
            "nothing was measured: "
            + "; ".join(f"{one.shape} {one.storage} {one.reason}" for one in found.skipped)
        )
    from .bench_report import print_table, to_json

    if arguments.json:
        text = json.dumps(to_json(found, _version()), indent=2, allow_nan=False)
        sys.stdout.write(text + "\n")
    else:
        print_table(_console(sys.stdout, width=120), found)
    if arguments.save is not None:
        from . import roofline

        sys.stdout.flush()  # a picture that cannot be written does not cost the table
        with _picture_errors(arguments.save):
            roofline.save(arguments.save, found)


# -- regcore compare -----------------------------------------------------------------------------------------


def _check_combination(arguments: argparse.Namespace, kind: str) -> None:
    """Refuse an option that would silently do nothing."""
    for option, needs in (("features", "folder"), ("bins", "folder"), ("size", "folder"), ("label", "csv")):
        if getattr(arguments, option) is not None and kind != needs:
            what = "a folder of images" if needs == "folder" else "a .csv file"
            raise UsageError(f"--{option} goes with {what} as DATA")
    if arguments.skip_damaged and kind != "folder":
        raise UsageError("--skip-damaged goes with a folder of images as DATA")
    if arguments.bins is not None and arguments.features == "pixels":
        raise UsageError("--bins goes with --features hsv-histogram")
    if arguments.size is not None and arguments.features != "pixels":
        raise UsageError("--size goes with --features pixels")


def _read_options(arguments: argparse.Namespace, kind: str) -> ReadOptions:
    from .data import ReadOptions

    images = None
    if kind == "folder":
        require("PIL", purpose="reading images")
        from .images import ImageFeatures

        images = ImageFeatures(
            kind=arguments.features or "hsv-histogram",
            bins=arguments.bins or (8, 8, 8),
            size=arguments.size or (32, 32),
        )
    return ReadOptions(
        label=arguments.label,
        images=images,
        skip_damaged=arguments.skip_damaged,
        n_threads=arguments.threads,
    )


def _settings(arguments: argparse.Namespace) -> Settings:
    from .compare import Settings

    return Settings(
        penalties=arguments.penalties,
        alpha=arguments.alpha,
        l1_ratio=arguments.l1_ratio,
        loss=arguments.loss,
        solver=arguments.solver,
        max_iter=arguments.epochs,
        n_seeds=arguments.seeds,
        test_size=arguments.test_size,
        n_threads=arguments.threads,
    )


def _compare(arguments: argparse.Namespace) -> None:
    require("sklearn", "scipy", "rich", purpose="regcore compare")
    if arguments.save is not None:
        require("matplotlib", purpose="--save")
    from .data import kind_of

    kind = kind_of(arguments.data)
    _check_combination(arguments, kind)
    dataset, comparison = _run(arguments, kind)
    if arguments.json:
        from .report import to_json

        text = json.dumps(to_json(dataset, comparison, _version()), indent=2, allow_nan=False)
        sys.stdout.write(text + "\n")
    else:
        from .report import print_table

        print_table(_console(sys.stdout), dataset, comparison)
    if arguments.save is not None:
        sys.stdout.flush()  # a picture that cannot be written does not cost the table
        _save(arguments.save, dataset, comparison)


def _run(arguments: argparse.Namespace, kind: str) -> tuple[Dataset, Comparison]:
    """Read and compare, with progress and remarks on stderr."""
    from dataclasses import replace

    from .compare import compare_penalties
    from .data import load
    from .progress import progress_bar

    console = _console(sys.stderr)

    def remark(text: str) -> None:
        if not arguments.quiet:
            console.print(f"note: {printable(text)}", soft_wrap=True)

    options = _read_options(arguments, kind)
    bars = not arguments.quiet
    with progress_bar(console, "reading images", enabled=bars and kind == "folder") as report:
        dataset = load(arguments.data, replace(options, progress=report))
    for note in dataset.notes:
        remark(note)
    if dataset.skipped:
        count = len(dataset.skipped)
        what = f"1 damaged image left out: {dataset.skipped[0]}"
        if count > 1:
            what = f"{count} damaged images left out, the first of them {dataset.skipped[0]}"
        remark(what)
    with _interrupts() as interrupted, progress_bar(console, "training", enabled=bars) as report:
        comparison = compare_penalties(
            dataset, _settings(arguments), progress=report, interrupted=interrupted.is_set
        )
    for note in comparison.notes:
        remark(note)
    return dataset, comparison


def _save(path: Path, dataset: Dataset, comparison: Comparison) -> None:
    from .picture import save

    with _picture_errors(path):
        save(path, dataset, comparison)


@contextmanager
def _picture_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandError(f"{path}: cannot be written ({error.strerror or error})") from error


def _console(stream: Any, width: int = 100) -> Any:
    from rich.console import Console

    console = Console(file=stream, markup=False, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = width  # a file or a pipe has no width of its own
    return console


# -- the frame -----------------------------------------------------------------------------------------------


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Remember a Ctrl-C, besides raising it: a trainer may take it as the wish to stop early."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return

    def handler(signum: int, frame: FrameType | None) -> None:
        pressed.set()
        signal.default_int_handler(signum, frame)

    previous = signal.signal(signal.SIGINT, handler)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if previous is None else previous)


def _complain(message: str) -> None:
    sys.stderr.write(f"regcore: error: {printable(message)}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; ``sys.argv[1:]`` by default.

    Returns
    -------
    int
        0 done, 1 failed otherwise, 2 wrong usage, 3 unusable data, 130 interrupted.
    """
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit as leave:  # argparse has said why
        return int(leave.code or 0)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except CommandError as error:
        _complain(str(error))
        return int(error.exit_code)
    except MemoryError as error:
        _complain(f"not enough memory ({error})" if str(error) else "not enough memory")
        return int(ExitCode.FAILURE)
    except BrokenPipeError:
        # The reader of a pipe has left. What is still buffered has nowhere to go, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.FAILURE)
    except KeyboardInterrupt:
        _complain("interrupted")
        return int(ExitCode.INTERRUPTED)
    return int(ExitCode.OK)
