"""``regcore tune``, ``predict`` and ``report``: the search, what to expect, model files, and the page."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from regcore import L2, Objective, fit
from regcore.command import main, models
from regcore.command.data import load
from regcore.command.models import softmax
from regcore.command.search import (
    Candidate,
    Found,
    SearchSettings,
    at_the_edge,
    expected_accuracy,
    search,
    strengths,
    wilson,
)
from regcore.command.splits import folds

OK, FAILURE, USAGE, DATA, INTERRUPTED = 0, 1, 2, 3, 130
QUICK = ("--strengths", "3", "--folds", "3", "--threads", "1")


@pytest.fixture
def run(capsys):
    """Run the command; its exit code, stdout and stderr."""

    def run(*argv: object) -> tuple[int, str, str]:
        code = main([str(word) for word in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def table(tmp_path) -> Path:
    """Three classes that are easy to tell apart, with a column of categories."""
    rng = np.random.default_rng(0)
    lines = ["size,noise,colour,kind"]
    for k in range(90):
        kind = k % 3
        colour = ("red", "blue", "red")[kind] if k % 10 else "green"
        lines.append(f"{kind * 4 + rng.normal():.4f},{rng.normal():.4f},{colour},{'abc'[kind]}")
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def photos(tmp_path) -> Path:
    """Two classes of colours, one of them with a picture that is the other's."""
    rng = np.random.default_rng(0)
    for name, channel in (("leaves", 1), ("skies", 2)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for k in range(8):
            pixels = rng.integers(0, 90, (24, 30, 3), dtype=np.uint8)
            pixels[..., channel if k else 3 - channel] += 150
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{k}.png")
    return tmp_path / "photos"


def one_line(code, out, err, expected_code, *words):
    assert code == expected_code
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("regcore: error: ")
    for word in words:
        assert word in err.splitlines()[-1]


# -- the search ----------------------------------------------------------------------------------------------


def made_up(hits: np.ndarray, penalties: list[str] | None = None, n_folds: int = 5) -> Found:
    """A search of which the answers are known: class 0 is right where `hits` says so."""
    n_candidates, n_samples = hits.shape
    names = penalties or ["l2"] * n_candidates
    candidates = tuple(Candidate(name, 1.0 / (k + 1)) for k, name in enumerate(names))
    return Found(
        SearchSettings(n_folds=n_folds),
        candidates,
        np.zeros(n_samples, np.int32),
        np.arange(n_samples, dtype=np.int32) % n_folds,
        np.where(hits, 0, 1).astype(np.int32),
        np.ones(n_candidates),
        1,
        0.0,
    )


def test_the_best_of_many_equal_candidates_is_not_believed():
    # Sixty candidates that guess: the best of them looks like skill.
    searches = [made_up(np.random.default_rng(seed).random((60, 300)) < 0.5) for seed in range(8)]
    assert np.mean([found.accuracy[found.best] for found in searches]) > 0.57
    estimates = [expected_accuracy(found) for found in searches]
    assert abs(np.mean([estimate.mean for estimate in estimates]) - 0.5) < 0.03
    assert all(estimate.low < 0.5 < estimate.high for estimate in estimates)


def test_expected_accuracy_of_one_candidate_is_its_accuracy():
    hits = np.random.default_rng(1).random((1, 2000)) < 0.8
    estimate = expected_accuracy(made_up(hits))
    assert estimate.mean == pytest.approx(hits.mean(), abs=0.003)
    assert estimate.low < hits.mean() < estimate.high
    assert estimate == expected_accuracy(made_up(hits))


def test_of_equal_candidates_the_strongest_wins():
    hits = np.ones((3, 10), bool)
    hits[0, 0] = False
    assert made_up(hits).best == 1
    found = made_up(hits, ["l1", "l1", "l2"])
    assert found.of_penalty("l2") == [2]


def test_edges_are_told():
    hits = np.zeros((3, 10), bool)
    hits[1] = True
    assert at_the_edge(made_up(hits)) is None
    assert "strongest" in at_the_edge(made_up(hits[[1, 0, 2]]))
    assert "weakest" in at_the_edge(made_up(hits[[0, 2, 1]]))
    several = replace(
        made_up(
            np.concatenate([hits[[0, 2, 1]], hits, hits[[0, 2, 1]]]), ["l1"] * 3 + ["l2"] * 3 + ["none"] * 3
        ),
        settings=SearchSettings(penalties=("l1", "l2", "none"), n_folds=2),
    )
    assert "of l1 and of none is the weakest that was tried" in at_the_edge(several)


def test_wilson():
    # Newcombe, Statistics in Medicine 17, 1998, table I: 81 of 263.
    estimate = wilson(81, 263)
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (0.2553, 0.3662)
    assert wilson(0, 10).low == pytest.approx(0, abs=1e-12)


def test_folds_are_stratified_and_repeatable():
    y = np.repeat(np.arange(3, dtype=np.int32), [30, 60, 9])
    found = folds(y, 3, seed=4)
    counts = np.array([np.bincount(y[found == k]) for k in range(3)])
    np.testing.assert_array_equal(counts, [[10, 20, 3]] * 3)
    np.testing.assert_array_equal(found, folds(y, 3, seed=4))
    assert (found != folds(y, 3, seed=5)).any()


@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
def test_the_strongest_strength_leaves_no_weight_and_the_next_one_some(table, penalty):
    data = load(str(table))
    settings = SearchSettings(penalties=(penalty,), n_alphas=4, n_folds=3, tol=1e-6)
    found = search(data, settings)
    # The folds see other samples than the whole, so the very first weight may be there.
    assert found.n_nonzero[0] <= 1
    assert found.n_nonzero[1] > 1
    assert (np.diff(found.n_nonzero) >= 0).all()


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_the_strongest_l2_holds_the_scores_down(table, scale):
    data = load(str(table))
    X = scale * np.asarray(data.X, np.float32)
    found = strengths(X, data.y, "l2", SearchSettings(n_alphas=5))
    assert found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(1e-5 * found[0])
    result = fit(Objective(X, data.y, penalty=L2(found[0] / 2)), tol=1e-8, dtype=np.float64)
    scores = X @ result.W.T
    assert np.sqrt(np.square(scores - scores.mean(axis=0)).mean()) == pytest.approx(0.1, rel=0.2)


def test_strengths_of_more_features_than_samples_and_of_ones_own(table):
    data = load(str(table))
    X = np.asarray(data.X, np.float32)
    for penalty, span in (("l1", 1e-4), ("l2", 1e-5)):
        for rows, share in ((slice(None), span), (np.r_[0:2, -2:0], 10 * span)):
            wide = np.tile(X[rows], 10) if share > span else X[rows]
            y = np.unique(data.y[rows], return_inverse=True)[1].astype(np.int32)
            found = strengths(wide, y, penalty, SearchSettings(n_alphas=5))
            assert found[-1] == pytest.approx(share * found[0])
    assert strengths(X, data.y, "l1", SearchSettings(alphas=(0.1, 0.3))) == [0.3, 0.1]


def test_left_out_samples_are_left_out():
    # The label is a coin: whoever has seen it knows it by heart (more features than samples), others do not.
    from regcore.command.data import Dataset

    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 400), dtype=np.float32)
    y = (np.arange(80) % 2).astype(np.int32)
    rng.shuffle(y)
    data = Dataset(name="coin", X=X, y=y, classes=("0", "1"), features="noise")
    found = search(data, SearchSettings(penalties=("l2",), alphas=(0.01,), n_folds=4))
    assert abs(found.accuracy[0] - 0.5) < 0.2


def test_probabilities():
    p = softmax(np.array([[1000.0, 0.0], [0.0, 0.0]]))
    np.testing.assert_allclose(p, [[1, 0], [0.5, 0.5]])


# -- tune and predict ----------------------------------------------------------------------------------------


def test_tune_and_predict(run, table, tmp_path):
    model, out = tmp_path / "m.model", tmp_path / "out.csv"
    code, text, _ = run("tune", table, *QUICK, "--label", "kind", "-o", model, "--quiet")
    assert code == OK
    for word in ("best strength", "winner", "to expect", "baseline", "33.33 %", str(model)):
        assert word in text
    code, text, err = run("predict", model, table, "-o", out)
    assert (code, text) == (OK, "")
    assert "samples with a label are predicted right" in err
    assert "the model was trained on these samples; on new ones expect" in err
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert list(rows[0]) == ["sample", "predicted", "label", "p_a", "p_b", "p_c"]
    assert len(rows) == 90
    assert np.mean([row["predicted"] == row["label"] for row in rows]) > 0.9
    for row in rows:
        shares = [float(row[f"p_{name}"]) for name in "abc"]
        assert sum(shares) == pytest.approx(1, abs=1e-4)
        assert row["predicted"] == "abc"[int(np.argmax(shares))]
    code, text, _ = run("predict", model, table, "--json", "--quiet")
    found = json.loads(text)
    assert found["n_labelled"] == 90
    assert [one["predicted"] for one in found["samples"]] == [row["predicted"] for row in rows]


def test_tune_prints_json_and_the_same_on_every_run(run, table):
    def answer(*more):
        found = json.loads(run("tune", table, *QUICK, "--json", *more)[1])
        del found["seconds"]
        return found

    found = answer("--holdout", "0.25")
    assert found == answer("--holdout", "0.25")
    assert len(found["candidates"]) == 9
    for candidate in found["candidates"]:
        assert len(candidate["per_fold"]) == 3
    best = max(candidate["accuracy"] for candidate in found["candidates"])
    winner = next(c for c in found["candidates"] if c["accuracy"] == best)
    assert {key: winner[key] for key in ("penalty", "alpha", "l1_ratio", "power")} == found["winner"]
    assert found["n_held_out"] == 23
    assert found["held_out_accuracy"]["low"] < found["held_out_accuracy"]["high"] <= 1
    assert answer()["held_out_accuracy"] is None
    assert answer("--seed", "1") != answer()
    assert [c["alpha"] for c in answer("--strengths", "0.5,0.1")["candidates"]] == [0.5, 0.1] * 3


def test_hinge_has_no_probabilities(run, table, tmp_path):
    model = tmp_path / "m.model"
    assert run("tune", table, *QUICK, "--loss", "squared_hinge", "-o", model)[0] == OK
    _, text, _ = run("predict", model, table, "--quiet")
    assert next(csv.reader(io.StringIO(text))) == ["sample", "predicted", "label"]


@pytest.mark.parametrize("more", [(), ("--features", "pixels", "--size", "4x3")])
def test_images_are_read_as_the_model_learned_them(run, photos, tmp_path, more):
    model = tmp_path / "m.model"
    assert run("tune", photos, *QUICK, *more, "-o", model)[0] == OK
    _, text, _ = run("predict", model, photos / "skies" / "3.png", "--quiet")
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["sample"] == str(photos / "skies" / "3.png")
    assert row["predicted"] == "skies"
    flat = tmp_path / "flat"
    flat.mkdir()
    shutil.copy(photos / "leaves" / "2.png", flat / "x.png")
    (row,) = csv.DictReader(io.StringIO(run("predict", model, flat, "--quiet")[1]))
    assert (row["predicted"], "label" in row) == ("leaves", False)
    (flat / "x.png").unlink()
    one_line(*run("predict", model, flat), DATA, "holds no images")


def test_two_classes_of_texts(run, tmp_path):
    for name, words in (("ham", "good day friend"), ("spam", "bad night offer")):
        (tmp_path / "mails" / name).mkdir(parents=True)
        for k in range(6):
            (tmp_path / "mails" / name / f"{k}.txt").write_text(f"{words} {'and' * (k % 2)} more")
    model = tmp_path / "m.model"
    assert run("tune", tmp_path / "mails", *QUICK, "-o", model)[0] == OK
    (tmp_path / "one.txt").write_text("an offer for one night")
    _, text, _ = run("predict", model, tmp_path / "one.txt", "--quiet")
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["predicted"] == "spam"
    assert float(row["p_spam"]) > 0.5


def test_models_that_cannot_be_used(run, table, tmp_path):
    from safetensors.numpy import save_file

    model = tmp_path / "m.model"
    one_line(*run("predict", model, table), DATA, "m.model", "no such file")
    model.write_bytes(b"nothing")
    one_line(*run("predict", model, table), DATA, "not a model file, or damaged")
    save_file({"a": np.zeros(3)}, model)
    one_line(*run("predict", model, table), DATA, "not one that `regcore tune` wrote")
    save_file({"a": np.zeros(3)}, model, metadata={"regcore.command": "{}"})
    one_line(*run("predict", model, table), DATA, "the model is damaged")
    save_file({"a": np.zeros(3)}, model, metadata={"regcore.command": '{"format": 99}'})
    one_line(*run("predict", model, table), DATA, "number 99")
    assert run("tune", table, *QUICK, "-o", model)[0] == OK
    whole = model.read_bytes()
    model.write_bytes(whole[:-20])
    one_line(*run("predict", model, table), DATA, "not a model file, or damaged")
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    model.write_bytes(bytes(flipped))
    one_line(*run("predict", model, table), DATA, "its checksum is not that of its content")
    # Weights of another shape than the scaling and the classes: no kernel may see them.
    from safetensors import safe_open

    model.write_bytes(whole)
    with safe_open(model, framework="np") as file:
        metadata, arrays = file.metadata(), {name: file.get_tensor(name) for name in ("coef", "intercept")}
        scaling = {name: file.get_tensor(name) for name in ("mean", "scale")}
    for wrong in (
        {"coef": arrays["coef"][:, :2]},
        {"coef": arrays["coef"][:2]},
        {"intercept": arrays["intercept"][:1]},
        {"coef": np.full_like(arrays["coef"], np.nan)},
        {"mean": scaling["mean"][:1]},
    ):
        made = {**arrays, **scaling, **wrong}
        metadata["sha256"] = models._checksum(metadata["regcore.command"], made)
        save_file(made, model, metadata=metadata)
        one_line(*run("predict", model, table), DATA, "the model is damaged")


def test_data_that_does_not_fit_the_model(run, table, photos, tmp_path):
    model = tmp_path / "m.model"
    assert run("tune", table, *QUICK, "-o", model)[0] == OK
    one_line(*run("predict", model, photos), DATA, "it takes a .csv or .parquet file")
    (tmp_path / "other.csv").write_text("size,kind\n1,a\n")
    out = tmp_path / "out.csv"
    out.write_text("what was there")
    one_line(
        *run("predict", model, tmp_path / "other.csv", "-o", out),
        DATA,
        "needs 2 columns that are not there: 'noise', 'colour'",
    )
    assert out.read_text() == "what was there"


def test_tune_of_data_that_is_too_small(run, tmp_path):
    (tmp_path / "t.csv").write_text("u,kind\n" + "".join(f"{k},{'aab'[k % 3]}\n" for k in range(9)))
    one_line(*run("tune", tmp_path / "t.csv", "--folds", "4"), DATA, "class 'b' has 3 samples", "--folds")
    one_line(
        *run("tune", tmp_path / "t.csv", "--folds", "2", "--holdout", "0.1"),
        DATA,
        "--holdout 0.1 of 9 samples",
    )


@pytest.mark.parametrize(
    ("argv", "word"),
    [
        (("tune", "--folds", "1"), "at least 2 folds"),
        (("tune", "--strengths", "0"), "at least 1"),
        (("tune", "--strengths", "0.1,-2"), "above 0"),
        (("tune", "--penalties", "none"), "l1, l2, elasticnet"),
        (("tune", "--l1-ratio", "0"), "not 0"),
        (("tune", "--holdout", "1"), "between 0 and 1"),
        (("tune", "-o", "no/such/place.model"), "no folder"),
        (("tune", "--text", "body"), "--text goes with a .csv or .parquet file"),
        (("tune", "--encoding", "latin-1"), "--encoding goes with a .csv file"),
        (("tune", "--drop", ","), "names of columns"),
        (("predict", "m.model"), "DATA"),
        (("report",), "-o/--output"),
        (("report", "-o", "."), "is a folder"),
        (("completion", "fish"), "bash"),
    ],
)
def test_wrong_usage(run, argv, word):
    code, out, err = run(*argv)
    assert (code, out) == (USAGE, "")
    assert word in err.splitlines()[-1]


def test_interrupt_leaves_no_model(run, table, tmp_path, monkeypatch):
    from regcore.command import search as module

    def press(*arguments, **options):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(module, "_train", press)
    model = tmp_path / "m.model"
    one_line(*run("tune", table, "-o", model), INTERRUPTED, "interrupted")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.csv"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(run, shell):
    code, out, err = run("completion", shell)
    assert (code, err) == (OK, "")
    assert "predict" in out
    assert shell == "tcsh" or "--penalties" in out
    if shell == "bash" and shutil.which("bash"):
        subprocess.run(["bash", "-n"], input=out, text=True, check=True)


def test_a_wrong_cpu_level_is_one_sentence():
    for argv in (("info",), ("compare",), ("--version",)):
        done = subprocess.run(
            [sys.executable, "-m", "regcore", *argv],
            env={**os.environ, "REGCORE_ISA": "nonsense"},
            capture_output=True,
            text=True,
            check=False,
        )
        if argv == ("--version",):
            assert done.returncode == OK
            continue
        assert (done.returncode, done.stdout) == (USAGE, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("regcore: error: REGCORE_ISA must be one of ")
        assert "nonsense" in line


# -- report --------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """What a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in {"meta", "img", "br", "link", "circle", "line", "rect", "polygon", "polyline"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and tag == self.open[-1]:
            self.open.pop()

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


SECTIONS = ("data", "penalties", "strength", "weights", "confusion", "mistakes", "again")
REPORT = (*QUICK, "--seeds", "2", "--epochs", "3")


def check_page(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert [attributes["id"] for attributes in page.all("section") if "id" in attributes] == list(SECTIONS)
    links = [attributes.get("src") or attributes.get("href") for _, attributes in page.tags]
    assert all(link.startswith(("#", "data:")) for link in links if link)  # nothing is fetched
    assert "@import" not in text
    assert "url(" not in text
    assert page.all("script") == []
    assert all(attributes.get("alt") for attributes in page.all("img"))
    assert all(attributes.get("aria-label") for attributes in page.all("svg"))
    return page


def test_report_of_images(run, photos, tmp_path):
    path = tmp_path / "page.html"
    code, out, err = run("report", photos, *REPORT, "-o", path, "--title", "Leaves & <skies>")
    assert (code, out) == (OK, "")
    assert f"wrote {path}" in err
    page = check_page(path)
    text = " ".join(" ".join(page.words).split())
    assert "Leaves & <skies>" in text
    assert "16 samples, 512 features, 2 classes" in text
    assert "Nadeau" in text
    assert "regcore report" in text
    # The two pictures in the wrong folders are the worst mistakes, and are shown.
    mistakes = [image for image in page.all("img") if image["src"].startswith("data:image/jpeg")]
    assert {"leaves/0.png", "skies/0.png"} <= {image["alt"] for image in mistakes}
    assert len(page.all("svg")) == 1 + 3 + 2


def test_report_of_a_table_of_texts_and_of_digits(run, table, tmp_path):
    path = tmp_path / "page.html"
    assert run("report", table, *REPORT, "-o", path, "--quiet") == (OK, "", "")
    words = check_page(path).words
    assert any("colour=blue" in word for word in words)
    lines = [f"{'good day' if k % 2 else 'bad night'} {k % 5},{'ab'[k % 2]}" for k in range(20)]
    (tmp_path / "mails.csv").write_text("body,kind\n" + "\n".join(lines))
    mails = ("--label", "kind", "--text", "body")
    assert run("report", tmp_path / "mails.csv", *mails, *REPORT, "-o", path, "--quiet")[0] == OK
    assert "night" in check_page(path).words
    assert run("report", *REPORT, "-o", path, "--quiet")[0] == OK
    page = check_page(path)
    assert sum(image["alt"].startswith("weights of the class") for image in page.all("img")) == 10


def test_report_of_many_classes(run, tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(160) % 40
    X = np.concatenate([np.eye(40)[y] + 0.4 * rng.random((160, 40)), rng.random((160, 2))], axis=1)
    np.savez(tmp_path / "many.npz", X=X, y=y, classes=[f"<b>{k}</b>" for k in range(40)])
    path = tmp_path / "page.html"
    assert run("report", tmp_path / "many.npz", *REPORT, "-o", path, "--quiet")[0] == OK
    page = check_page(path)
    assert "<b>0</b>" in " ".join(page.words)  # a name is no markup
    assert "28 more classes are not shown." in page.words


def test_report_is_the_same_on_every_run_but_for_seconds(run, photos, tmp_path):
    import re

    def page():
        assert run("report", photos, *REPORT, "-o", tmp_path / "page.html", "--quiet")[0] == OK
        return re.sub(r"[\d.]+ s\b", "", (tmp_path / "page.html").read_text())

    assert page() == page()


def test_interrupt_leaves_the_old_page(run, photos, tmp_path, monkeypatch):
    def press(*arguments, **options):
        raise KeyboardInterrupt

    path = tmp_path / "page.html"
    path.write_text("what was there")
    monkeypatch.setattr("regcore.command.page.render", press)
    one_line(*run("report", photos, *REPORT, "-o", path), INTERRUPTED, "interrupted")
    assert path.read_text() == "what was there"
    assert sorted(found.name for found in tmp_path.iterdir()) == ["page.html", "photos"]


def browser():
    """A headless Chromium, the one that Playwright knows or one of the system's."""
    playwright = pytest.importorskip("playwright.sync_api")
    own = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    manager = playwright.sync_playwright()
    started = manager.start()
    for path in (None, *own):
        try:
            return started, started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except playwright.Error:
            continue
    started.stop()
    pytest.skip("no Chromium that runs here")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_report_in_a_browser(run, photos, tmp_path):
    path = tmp_path / "page.html"
    started, chromium = browser()
    try:
        assert run("report", photos, *REPORT, "-o", path, "--quiet")[0] == OK
        for width, scheme in ((1100, "light"), (1100, "dark"), (360, "light")):
            page = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
            problems: list[str] = []
            page.on("console", lambda message, kept=problems: kept.append(message.text))
            page.on("pageerror", lambda error, kept=problems: kept.append(str(error)))
            page.on("request", lambda request, kept=problems: kept.append(request.url)
                    if not request.url.startswith(("file:", "data:")) else None)  # fmt: skip
            page.goto(path.as_uri())
            assert problems == []
            for section in SECTIONS:
                assert page.locator(f"section#{section} h2").is_visible()
            # Nothing sticks out of the page: what is too wide scrolls in its own frame.
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            best = page.locator(
                "#penalties td strong"
            ).first.bounding_box()  # the test accuracy needs no scrolling
            assert best["x"] + best["width"] <= width
            assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
            # Words can be told from what is behind them.
            ink, paper = (
                page.evaluate(f"getComputedStyle(document.body).{name}")
                for name in ("color", "backgroundColor")
            )
            light = [sum(map(int, value[4:-1].split(","))) for value in (ink, paper)]
            assert abs(light[0] - light[1]) > 450
            assert (light[0] > light[1]) == (scheme == "dark")
            page.get_by_role("link", name="Mistakes").click()
            assert page.evaluate("location.hash") == "#mistakes"
            page.close()
        page = chromium.new_page()
        page.goto(path.as_uri())
        page.emulate_media(media="print")
        assert not page.locator("nav").is_visible()
        assert page.pdf(format="A4").startswith(b"%PDF")
    finally:
        chromium.close()
        started.stop()
