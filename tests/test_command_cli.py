"""``regcore`` from the command line: arguments, exit codes, what goes to stdout and stderr, files."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regcore.command import main
from regcore.command.compare import PENALTIES
from regcore.command.files import atomic_write
from regcore.command.progress import progress_bar

OK, FAILURE, USAGE, DATA, INTERRUPTED = 0, 1, 2, 3, 130
QUICK = ("--seeds", "2", "--epochs", "2", "--threads", "1")


@pytest.fixture
def table(tmp_path) -> str:
    """A small .npz, easy to separate."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    np.savez(tmp_path / "table.npz", X=rng.normal(size=(60, 5)) + 3 * np.eye(3, 5)[y], y=y)
    return str(tmp_path / "table.npz")


@pytest.fixture
def photos(tmp_path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cats", "dogs"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(5):
            noise = rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)
            Image.fromarray(noise).save(tmp_path / "photos" / name / f"{k}.jpg")
    return tmp_path / "photos"


@pytest.fixture
def run(capsys):
    """Run the command; its exit code, stdout and stderr."""

    def run(*argv: str) -> tuple[int, str, str]:
        code = main([str(word) for word in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def check_complaint(code, out, err, expected_code, *words):
    assert code == expected_code
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("regcore")
    for word in words:
        assert word in err.splitlines()[-1]


# -- regcore compare -----------------------------------------------------------------------------------------


def test_table(run, table):
    code, out, err = run("compare", table, *QUICK)
    assert code == OK
    assert err == ""
    lines = out.splitlines()
    assert any(line.startswith(table) and "60 samples, 5 features, 3 classes" in line for line in lines)
    for penalty in PENALTIES:
        (row,) = (line for line in lines if line.startswith(penalty + " ") and line.count("±") == 2)
        assert row.rstrip().endswith(tuple("0123456789"))
    assert sum(" over " in line and " of 2 " in line for line in lines) == 6
    assert "the spread between" in out or "All penalties score the same" in out
    assert "standardised" in out
    assert max(map(len, lines)) <= 100


def test_digits_are_the_default(run):
    code, out, _ = run("compare", "--penalties", "none,l1", "--seeds", "2", "--epochs", "5", "--json")
    assert code == OK
    found = json.loads(out)
    assert found["data"]["name"] == "digits"
    assert found["data"]["n_samples"] == 1797
    for result in found["results"]:
        assert result["test_accuracy"]["mean"] > 0.9
    none, l1 = found["results"]
    assert l1["zero_share"]["mean"] > none["zero_share"]["mean"]


def check_shape(value, shape, where="$"):
    """Compare parsed JSON with a pattern of types, dictionaries and one-element lists."""
    if isinstance(shape, dict):
        assert isinstance(value, dict), where
        assert value.keys() == shape.keys(), where
        for key in shape:
            check_shape(value[key], shape[key], f"{where}.{key}")
    elif isinstance(shape, list):
        assert isinstance(value, list), where
        for k, item in enumerate(value):
            check_shape(item, shape[0], f"{where}[{k}]")
    else:
        assert isinstance(value, shape), where
        assert isinstance(value, bool) == (shape is bool), where


def values(sd=float):
    return {"mean": float, "sd": sd, "per_seed": [float]}


def json_shape(sd=float):
    return {
        "schema": int,
        "regcore": str,
        "data": {
            "name": str,
            "n_samples": int,
            "n_features": int,
            "classes": [str],
            "features": str,
            "scaling": str,
            "skipped": [str],
        },
        "settings": {
            "loss": str,
            "solver": str,
            "max_iter": int,
            "n_seeds": int,
            "test_size": float,
            "n_train": int,
            "n_test": int,
        },
        "results": [
            {
                "penalty": str,
                "alpha": (float, type(None)),
                "l1_ratio": (float, type(None)),
                "seeds": [int],
                "train_accuracy": values(sd),
                "test_accuracy": values(sd),
                "zero_share": values(sd),
                "seconds": values(sd),
            }
        ],
        "gaps": [
            {
                "better": str,
                "worse": str,
                "mean": float,
                "sd": float,
                "p_value": float,
                "n_wins": int,
                "exceeds_spread": bool,
            }
        ],
        "verdict": str,
        "notes": [str],
    }


def test_json(run, table):
    code, out, err = run("compare", table, *QUICK, "--json")
    assert code == OK
    assert err == ""
    found = json.loads(out)
    check_shape(found, json_shape())
    assert found["schema"] == 1
    assert [result["penalty"] for result in found["results"]] == list(PENALTIES)
    assert found["results"][0]["alpha"] is None
    assert found["results"][3]["l1_ratio"] == 0.5
    for result in found["results"]:
        assert result["seeds"] == [0, 1]
        assert result["test_accuracy"]["mean"] == pytest.approx(np.mean(result["test_accuracy"]["per_seed"]))
    assert len(found["gaps"]) == 6
    assert found["settings"]["n_train"] + found["settings"]["n_test"] == 60


def test_json_of_one_seed(run, table):
    _, out, _ = run("compare", table, "--seeds", "1", "--epochs", "1", "--json")
    found = json.loads(out)
    check_shape(found, json_shape(sd=type(None)))
    assert found["gaps"] == []


def test_same_answers_on_every_run(run, table):
    def answers():
        found = json.loads(run("compare", table, *QUICK, "--json")[1])
        return [{key: r[key] for key in r if key != "seconds"} for r in found["results"]]

    assert answers() == answers()


def test_options_reach_the_experiment(run, table):
    _, out, _ = run(
        "compare", table, "--json", "--penalties", "elasticnet, none", "--alpha", "0.125",
        "--l1-ratio", "0.25", "--loss", "hinge", "--seeds", "3", "--epochs", "4", "--test-size", "0.4",
    )  # fmt: skip
    found = json.loads(out)
    assert found["settings"] == {
        "loss": "hinge",
        "solver": "sgd",
        "max_iter": 4,
        "n_seeds": 3,
        "test_size": 0.4,
        "n_train": 36,
        "n_test": 24,
    }
    assert [(r["penalty"], r["alpha"], r["l1_ratio"]) for r in found["results"]] == [
        ("elasticnet", 0.125, 0.25),
        ("none", None, None),
    ]


def test_folder_of_images(run, photos):
    code, out, err = run("compare", photos, *QUICK, "--json")
    assert code == OK
    assert err == ""
    data = json.loads(out)["data"]
    assert data["classes"] == ["cats", "dogs"]
    assert data["n_features"] == 512
    _, out, _ = run("compare", photos, *QUICK, "--json", "--bins", "4x3x2")
    assert json.loads(out)["data"]["n_features"] == 24
    _, out, _ = run("compare", photos, *QUICK, "--json", "--features", "pixels", "--size", "6x5")
    data = json.loads(out)["data"]
    assert data["n_features"] == 6 * 5 * 3
    assert data["features"] == "RGB pixels at 6x5"
    assert data["scaling"] == "divided by 255"


def test_csv_and_svmlight(run, tmp_path):
    rows = [f"{k % 5},{k % 7},{'ab'[k % 2]}" for k in range(20)]
    (tmp_path / "t.csv").write_text("\n".join(["u,v,kind", *rows]))
    code, out, err = run("compare", tmp_path / "t.csv", *QUICK, "--json", "--label", "kind")
    assert (code, err) == (OK, "")
    assert json.loads(out)["data"]["classes"] == ["a", "b"]
    (tmp_path / "t.svm").write_text("".join(f"{k % 2} 1:{k % 5} 3:{k % 7}\n" for k in range(20)))
    code, out, err = run("compare", tmp_path / "t.svm", *QUICK, "--json")
    assert (code, err) == (OK, "")
    assert json.loads(out)["data"]["n_features"] == 3


def test_remarks_go_to_stderr_unless_quiet(run, tmp_path):
    (tmp_path / "t.csv").write_text("u,v,kind\n" + "".join(f"{k},{k % 3},{k % 2}\n" for k in range(20)))
    _, out, err = run("compare", tmp_path / "t.csv", *QUICK, "--json")
    json.loads(out)
    assert err == "note: the label is the last column, 'kind'\n"
    _, out, err = run("compare", tmp_path / "t.csv", *QUICK, "--json", "--quiet")
    json.loads(out)
    assert err == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_terminals_of_other_encodings(table, tmp_path, monkeypatch, encoding):
    odd = Path(table).rename(tmp_path / "t\u00e4ble \u4e2d.npz")
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", out)
    assert main(["compare", str(odd), *QUICK]) == OK
    written = out.buffer.getvalue().decode(encoding)
    assert "\\u4e2d.npz" in written
    assert ("+-" if encoding == "ascii" else "±") in written


# -- wrong data ----------------------------------------------------------------------------------------------


def test_missing_data(run, tmp_path):
    check_complaint(*run("compare", tmp_path / "nowhere"), DATA, str(tmp_path / "nowhere"), "no such file")
    check_complaint(*run("compare", tmp_path / "no.npz"), DATA, "no.npz", "no such file")


def test_damaged_image(run, photos):
    path = photos / "dogs" / "3.jpg"
    path.write_bytes(path.read_bytes()[:200])
    check_complaint(*run("compare", photos), DATA, str(path), "damaged", "--skip-damaged")
    code, out, err = run("compare", photos, *QUICK, "--skip-damaged", "--json")
    assert code == OK
    found = json.loads(out)
    assert found["data"]["skipped"] == [str(path)]
    assert found["data"]["n_samples"] == 9
    assert "1 damaged image left out" in err
    assert str(path) in err
    _, out, _ = run("compare", photos, *QUICK, "--skip-damaged", "--quiet")
    assert "9 samples, 512 features, 2 classes; 1 damaged image left out" in " ".join(out.split())


def test_empty_class_folder_and_one_class(run, photos):
    (photos / "birds").mkdir()
    check_complaint(*run("compare", photos), DATA, str(photos / "birds"), "holds no images")
    (photos / "birds").rmdir()
    (photos / "dogs").rename(photos / ".dogs")
    check_complaint(*run("compare", photos), DATA, str(photos), "one class alone (cats)")


def test_files_that_cannot_be_used(run, tmp_path):
    (tmp_path / "a.csv").write_text("1,2,a\n3,,b\n")
    check_complaint(*run("compare", tmp_path / "a.csv"), DATA, "a.csv, line 2, column '2'", "empty")
    (tmp_path / "a.npz").write_bytes(b"PK no zip")
    check_complaint(*run("compare", tmp_path / "a.npz"), DATA, "a.npz", "not an .npz file")
    np.savez(tmp_path / "b.npz", X=np.zeros((4, 2)))
    check_complaint(*run("compare", tmp_path / "b.npz"), DATA, "b.npz", "no labels y")
    np.savez(tmp_path / "c.npz", X=[[1, np.nan], [2, 3]], y=[0, 1])
    check_complaint(*run("compare", tmp_path / "c.npz"), DATA, "c.npz", "row 0, column 1")
    np.savez(tmp_path / "d.npz", X=np.eye(4), y=[0, 0, 1, 1])
    check_complaint(
        *run("compare", tmp_path / "d.npz"), DATA, "d.npz", "each part needs at least one of each class"
    )
    (tmp_path / "a.pdf").touch()
    check_complaint(*run("compare", tmp_path / "a.pdf"), DATA, "a.pdf", "unknown kind of file")


def test_odd_names_stay_on_one_line(run, tmp_path):
    check_complaint(*run("compare", str(tmp_path / "a\nb[bold]\udcff.npz")), DATA, r"a\nb[bold]\udcff.npz")


# -- wrong usage ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        ((), "COMMAND"),
        (("train",), "train"),
        (("compare", "a", "b"), "b"),
        (("compare", "--penalties", "l3"), "l3"),
        (("compare", "--penalties", ","), "--penalties"),
        (("compare", "--alpha", "0"), "above 0"),
        (("compare", "--alpha", "inf"), "above 0"),
        (("compare", "--alpha", "much"), "above 0"),
        (("compare", "--l1-ratio", "1.5"), "between 0 and 1"),
        (("compare", "--test-size", "1"), "between 0 and 1"),
        (("compare", "--seeds", "0"), "at least 1"),
        (("compare", "--epochs", "-3"), "at least 1"),
        (("compare", "--threads", "two"), "at least 1"),
        (("compare", "--size", "32"), "32x32"),
        (("compare", "--bins", "8x8x0"), "8x8x8"),
        (("compare", "--loss", "log"), "cross_entropy"),
        (("compare", "--solver", "adam"), "sgd"),
        (("compare", "--features", "hog"), "hsv-histogram"),
        (("compare", "--save", "plot.jpg"), ".png"),
        (("compare", "--save", "no/such/folder/plot.png"), "no folder"),
        (("compare", "--seed", "-3"), "from 0 on"),
        (("compare", "--cach", "c"), "--cach"),
        (("compare", "--features", "pixels"), "--features goes with a folder"),
        (("compare", "--size", "8x8"), "--size goes with a folder"),
        (("compare", "--bins", "8x8x8"), "--bins goes with a folder"),
        (("compare", "--skip-damaged"), "--skip-damaged goes with a folder"),
        (("compare", "--label", "y"), "--label goes with a .csv"),
        (("compare", ".", "--size", "8x8"), "--features pixels"),
        (("compare", ".", "--features", "pixels", "--bins", "8x8x8"), "hsv-histogram"),
    ],
)
def test_wrong_usage(run, argv, word):
    check_complaint(*run(*argv), USAGE, word)


def test_settings_that_the_classifier_refuses(run, table, monkeypatch):
    def refuse(*arguments):
        raise ValueError("solver must be something else")

    monkeypatch.setattr("regcore.command.compare.LinearModel.fit", refuse)
    check_complaint(*run("compare", table), USAGE, "penalty none, solver sgd: solver must be something else")


# -- pictures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG")]
)
def test_picture(run, table, tmp_path, suffix, start):
    path = tmp_path / "out" / f"plot{suffix}"
    path.parent.mkdir()
    code, out, err = run("compare", table, *QUICK, "--save", path)
    assert (code, err) == (OK, "")
    assert "test accuracy" in out
    assert path.read_bytes().startswith(start)
    assert list(path.parent.iterdir()) == [path]
    if suffix == ".png":
        with Image.open(path) as image:
            image.load()
            assert image.width > 1000
            assert len(image.convert("RGB").getcolors(1 << 24)) > 100


def test_picture_of_one_penalty_one_seed_and_an_odd_name(run, tmp_path):
    path = tmp_path / ("$_{x} " + "long " * 30 + ".npz")
    np.savez(path, X=np.arange(20.0).reshape(10, 2), y=np.arange(10) % 2)
    picture = tmp_path / "p.png"
    code, _, _ = run("compare", path, "--penalties", "l2", "--seeds", "1", "--save", picture)
    assert code == OK
    assert picture.stat().st_size > 1000


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (KeyboardInterrupt(), INTERRUPTED, "interrupted"),
        (OSError(28, "No space left on device"), FAILURE, "cannot be written (No space left on device)"),
        (MemoryError(), FAILURE, "not enough memory"),
    ],
)
def test_no_picture_is_left_half_written(run, table, tmp_path, monkeypatch, error, code, word):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "plot.png").write_bytes(b"what was there")

    def write_half(self, file, **options):
        file.write(b"\x89PNG half")
        raise error

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", write_half)
    found, out, err = run("compare", table, *QUICK, "--save", folder / "plot.png")
    check_complaint(found, "", err, code, word)
    assert "test accuracy" in out  # the table is not lost
    assert [path.name for path in folder.iterdir()] == ["plot.png"]
    assert (folder / "plot.png").read_bytes() == b"what was there"


def test_atomic_write_keeps_links(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    with atomic_write(tmp_path / "link.txt") as file:
        file.write(b"new")
        assert (tmp_path / "real.txt").read_text() == "old"
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


# -- Ctrl-C, missing packages, pipes -------------------------------------------------------------------------


def test_interrupt_while_training(run, table, monkeypatch):
    def press(self, X, y):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("regcore.command.compare.LinearModel.fit", press)
    before = signal.getsignal(signal.SIGINT)
    check_complaint(*run("compare", table), INTERRUPTED, "interrupted")
    assert signal.getsignal(signal.SIGINT) is before


def test_interrupt_that_a_solver_takes_as_the_wish_to_stop(run, table, tmp_path, monkeypatch):
    from regcore.command.compare import LinearModel

    fit = LinearModel.fit

    def press(self, X, y):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            signal.pause()
        except KeyboardInterrupt:
            return fit(self, X, y)

    monkeypatch.setattr("regcore.command.compare.LinearModel.fit", press)
    picture = tmp_path / "p.png"
    check_complaint(*run("compare", table, *QUICK, "--save", picture), INTERRUPTED, "interrupted")
    assert not picture.exists()


def test_missing_packages_name_the_extra(run, table, photos, monkeypatch):
    from importlib.util import find_spec

    for module, name, argv in (
        ("rich", "rich", ("compare", table)),
        ("sklearn", "scikit-learn", ("compare",)),
        ("PIL", "Pillow", ("compare", photos)),
        ("matplotlib", "matplotlib", ("compare", table, "--save", "p.png")),
    ):
        monkeypatch.setattr(
            "regcore.command.errors.find_spec", lambda n, gone=module: None if n == gone else find_spec(n)
        )
        check_complaint(*run(*argv), FAILURE, name, 'pip install "regcore[command]"')


def test_info_needs_numpy_alone():
    code = """
import sys
for name in ("scipy", "sklearn", "rich", "PIL", "matplotlib"):
    sys.modules[name] = None
from regcore.command import main
sys.exit(main(["info"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "CPU level in use" in done.stdout
    assert done.stderr == ""


def test_info(run):
    code, out, err = run("info")
    assert (code, err) == (OK, "")
    lines = dict(line.split("  ", 1) for line in out.splitlines())
    for label in ("regcore", "CPU level in use", "threads", "OpenMP", "build type", "numpy"):
        assert lines[label].strip()
    code, out, err = run("info", "--json")
    assert (code, err) == (OK, "")
    found = json.loads(out)
    assert found["core"]["isa"] in found["core"]["available"]
    assert found["core"]["threads"] >= 1
    assert found["packages"]["numpy"] == np.__version__


def test_module_help_and_version():
    def run(*argv):
        return subprocess.run(
            [sys.executable, "-m", "regcore", *argv], capture_output=True, text=True, timeout=60, check=True
        ).stdout

    assert run("--version").startswith("regcore ")
    assert "compare" in run("--help")
    text = run("compare", "--help")
    for word in ("examples:", "exit codes:", "one sub-folder of images per class", "130", *PENALTIES):
        assert word in text


def test_reader_of_the_pipe_leaves():
    with subprocess.Popen(
        [sys.executable, "-m", "regcore", "info"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        error = process.stderr.read().decode()
        assert process.wait(60) == FAILURE
    assert error == ""


def test_progress_bar_is_for_terminals():
    from rich.console import Console

    plain = Console(file=io.StringIO(), force_terminal=False)
    with progress_bar(plain, "reading", enabled=True) as report:
        assert report is None
    assert plain.file.getvalue() == ""
    terminal = Console(file=io.StringIO(), force_terminal=True, width=80)
    with progress_bar(terminal, "reading", enabled=False) as report:
        assert report is None
    assert terminal.file.getvalue() == ""
    with progress_bar(terminal, "reading [b]", enabled=True) as report:
        report(3, 7, "l1, seed 0")
    shown = terminal.file.getvalue()
    assert "reading [b]" in shown
    assert "3/7" in shown
    assert "l1, seed 0" in shown


def test_a_pattern_in_class_names_is_no_markup(run, tmp_path):
    y = np.arange(12) % 2
    np.savez(tmp_path / "[red]x[_red].npz", X=np.random.default_rng(0).normal(size=(12, 2)), y=y)
    code, out, _ = run("compare", tmp_path / "[red]x[_red].npz", *QUICK)
    assert code == OK
    assert "[red]x[_red].npz" in out.replace("\n", "")
