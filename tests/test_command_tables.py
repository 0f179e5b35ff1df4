"""Tables and texts as data: categories, texts, Parquet, encodings, and the same columns again to predict."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from regcore.command import texts
from regcore.command.data import ReadOptions, kind_of, load, load_rows
from regcore.command.errors import CommandError, DataError
from regcore.command.recipe import Recipe, Samples

CSV = """size,colour,note,kind
1,red,a good day,x
2,blue,a bad day,y
3,red,good night,x
4,green,bad night,y
"""
LABEL = ReadOptions(label="kind", drop=("note",))


def write(tmp_path: Path, content: str | bytes, name: str = "t.csv") -> str:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


# -- categories ----------------------------------------------------------------------------------------------


def test_categories_become_columns(tmp_path):
    data = load(write(tmp_path, CSV), LABEL)
    assert data.columns == ("size", "colour=blue", "colour=green", "colour=red")
    np.testing.assert_array_equal(data.X, [[1, 0, 0, 1], [2, 1, 0, 0], [3, 0, 0, 1], [4, 0, 1, 0]])
    assert data.classes == ("x", "y")


def test_same_columns_in_another_order_without_labels(tmp_path):
    data = load(write(tmp_path, CSV), LABEL)
    other = write(tmp_path, "colour,extra,size\nred,what,9\npink,,8\n", "new.csv")
    rows = load_rows(other, data.recipe)
    np.testing.assert_array_equal(rows.X, [[9, 0, 0, 1], [8, 0, 0, 0]])
    assert rows.labels is None
    assert rows.samples.names == ("row 1", "row 2")
    assert rows.notes == ("column 'colour': 1 rows have categories unknown to the model",)
    again = load_rows(write(tmp_path, CSV), data.recipe)
    np.testing.assert_array_equal(again.X, data.X)
    assert again.labels == ("x", "y", "x", "y")


def test_file_without_a_header(tmp_path):
    data = load(write(tmp_path, "1,red,0\n2,blue,1\n3,red,0\n4,blue,1\n"))
    assert data.columns == ("1", "2=blue", "2=red")
    for content in ("5,blue\n", "5,blue,1\n"):
        rows = load_rows(write(tmp_path, content, "new.csv"), data.recipe)
        np.testing.assert_array_equal(rows.X, [[5, 1, 0]])
    with pytest.raises(DataError, match="4 columns without names; the model was trained on 3"):
        load_rows(write(tmp_path, "5,blue,1,2\n", "new.csv"), data.recipe)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("colour\nred\n", "needs a column that is not there: 'size'"),
        ("size,colour\n1,red\nbig,red\n", "line 3, column 'size': 'big' is not a number"),
        ("size,colour\n1,\n", "^$"),
        ("size,colour\n,red\n", "line 2, column 'size': the cell is empty"),
    ],
)
def test_tables_that_do_not_fit_the_model(tmp_path, content, message):
    data = load(write(tmp_path, CSV), LABEL)
    path = write(tmp_path, content, "new.csv")
    if message == "^$":  # a category that is missing is one that is not known
        assert load_rows(path, data.recipe).notes
        return
    with pytest.raises(DataError, match=message):
        load_rows(path, data.recipe)


def test_words_that_are_no_categories(tmp_path):
    names = "".join(f"{k},name{k},{k % 2}\n" for k in range(30))
    path = write(tmp_path, "size,name,kind\n" + names)
    with pytest.raises(DataError, match=r"column 'name' has 30 different words.*--text name.*--drop name"):
        load(path)
    assert load(path, ReadOptions(drop=("name",))).columns == ("size",)
    with pytest.raises(DataError, match="no dropped column 'nme'"):
        load(path, ReadOptions(drop=("nme",)))
    with pytest.raises(DataError, match="no column is left"):
        load(path, ReadOptions(drop=("name", "size")))


def test_missing_category_and_columns_of_one_name(tmp_path):
    with pytest.raises(DataError, match="line 3, column 'colour': the cell is empty"):
        load(write(tmp_path, "size,colour,kind\n1,red,0\n2,,1\n"))
    with pytest.raises(DataError, match="two columns are called 'a'"):
        load(write(tmp_path, "a,a,kind\n1,2,0\n2,3,1\n3,4,0\n4,5,1\n"))


# -- encodings -----------------------------------------------------------------------------------------------

ODD = "gr\u00f6\u00dfe,art\n1,\u00e4pfel\n2,bl\u00fcte\n3,\u00e4pfel\n4,bl\u00fcte\n"


def test_encodings(tmp_path):
    path = write(tmp_path, ODD.encode("latin-1"))
    with pytest.raises(DataError, match=r"line 1: not CSV text in UTF-8; give --encoding, as latin-1"):
        load(path)
    assert load(path, ReadOptions(encoding="latin-1")).classes == ("bl\u00fcte", "\u00e4pfel")
    assert load(write(tmp_path, ODD.encode("utf-16"))).columns == ("gr\u00f6\u00dfe",)
    with pytest.raises(DataError, match="no encoding is called 'latin-99'"):
        load(path, ReadOptions(encoding="latin-99"))


# -- Parquet -------------------------------------------------------------------------------------------------


def parquet(tmp_path: Path, name: str = "t.parquet", **columns) -> str:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.table(columns), tmp_path / name)
    return str(tmp_path / name)


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    path = parquet(
        tmp_path,
        size=pa.array([1, 2, 3, 4], pa.int16()),
        colour=pa.array(["red", "blue", "red", "green"]).dictionary_encode(),
        weight=pa.array([0.5, 1, 2, 3], pa.float32()),
        good=[True, False, True, False],
        kind=["x", "y", "x", "y"],
    )
    assert kind_of(path) == "parquet"
    data = load(path, ReadOptions(label="kind"))
    assert data.columns == ("size", "colour=blue", "colour=green", "colour=red", "weight", "good")
    np.testing.assert_array_equal(data.X[1], [2, 1, 0, 0, 1, 0])
    rows = load_rows(
        parquet(tmp_path, "n.parquet", good=[True], weight=[9.0], colour=["red"], size=[3]), data.recipe
    )
    np.testing.assert_array_equal(rows.X, [[3, 0, 0, 1, 9, 1]])
    # The model knows columns, not kinds of files.
    rows = load_rows(write(tmp_path, "size,colour,weight,good\n3,red,9,1\n"), data.recipe)
    np.testing.assert_array_equal(rows.X, [[3, 0, 0, 1, 9, 1]])


def test_parquet_that_cannot_be_used(tmp_path):
    pa = pytest.importorskip("pyarrow")
    path = parquet(tmp_path, a=[[1, 2], [3], [4], [5]], kind=[0, 1, 0, 1])
    with pytest.raises(DataError, match=r"column 'a' is nested \(list<.*\); .*--drop"):
        load(path)
    path = parquet(tmp_path, a=[{"b": 1}] * 4, c=[1, 2, 3, 4], kind=[0, 1, 0, 1])
    with pytest.raises(DataError, match=r"column 'a' is nested \(struct<"):
        load(path)
    assert load(path, ReadOptions(drop=("a",))).columns == ("c",)
    path = parquet(tmp_path, a=pa.array([1, None, 3, 4]), kind=[0, 1, 0, 1])
    with pytest.raises(DataError, match="row 2, column 'a': the value is missing"):
        load(path)
    path = parquet(tmp_path, a=pa.array([1, 2, 3, 4], pa.timestamp("s")), kind=[0, 1, 0, 1])
    with pytest.raises(DataError, match=r"column 'a' has type timestamp.*--drop"):
        load(path)
    with pytest.raises(DataError, match="not a Parquet file, or damaged"):
        load(write(tmp_path, b"PAR1 no", "b.parquet"))
    with pytest.raises(DataError, match="it has no rows"):
        load(parquet(tmp_path, a=pa.array([], pa.int8()), kind=pa.array([], pa.int8())))


# -- texts ---------------------------------------------------------------------------------------------------

DOCUMENTS = ["A good day, a GOOD night", "a bad day", "good bad good", "night and day", "the one alone", ""]


def expected_weights(documents):
    vectorizer = TfidfVectorizer(sublinear_tf=True, min_df=2)
    return vectorizer.fit_transform(documents).toarray(), vectorizer


def test_weights_are_those_of_scikit_learn():
    X, vocabulary = texts.learn("here", DOCUMENTS)
    expected, vectorizer = expected_weights(DOCUMENTS)
    assert vocabulary.words == tuple(vectorizer.get_feature_names_out())
    np.testing.assert_allclose(X.toarray(), expected, rtol=1e-6)
    others = ["good good unheard", "nothing"]
    np.testing.assert_allclose(
        texts.apply(others, vocabulary).toarray(), vectorizer.transform(others).toarray(), rtol=1e-6
    )
    assert texts.apply([], vocabulary).shape == (0, len(vocabulary.words))


def test_chunks_change_nothing(monkeypatch):
    X, vocabulary = texts.learn("here", DOCUMENTS)
    monkeypatch.setattr(texts, "_CHUNK", 10)
    again, same = texts.learn("here", DOCUMENTS)
    assert same.words == vocabulary.words
    np.testing.assert_array_equal(again.toarray(), X.toarray())


def test_processes_change_nothing(monkeypatch):
    X, _ = texts.learn("here", DOCUMENTS)
    monkeypatch.setattr(texts, "_CHUNK", 30)
    monkeypatch.setattr(texts, "_PARALLEL", 1)
    again, _ = texts.learn("here", DOCUMENTS, n_threads=2)
    np.testing.assert_array_equal(again.toarray(), X.toarray())


@pytest.fixture
def mails(tmp_path) -> Path:
    for name, words in (("ham", "good day"), ("spam", "bad night")):
        (tmp_path / "mails" / name).mkdir(parents=True)
        for k in range(3):
            (tmp_path / "mails" / name / f"{k}.txt").write_text(f"{words} number {k}")
    return tmp_path / "mails"


def test_folder_of_texts(mails):
    assert kind_of(str(mails)) == "texts"
    data = load(str(mails))
    assert data.classes == ("ham", "spam")
    assert data.columns == ("bad", "day", "good", "night", "number")
    assert data.samples.kind == "text"
    assert data.samples.excerpts[0] == "good day number 0"
    rows = load_rows(str(mails), data.recipe)
    np.testing.assert_array_equal(rows.X.toarray(), data.X.toarray())
    assert rows.labels == ("ham",) * 3 + ("spam",) * 3
    one = load_rows(str(mails / "ham" / "2.txt"), data.recipe)
    np.testing.assert_array_equal(one.X.toarray(), data.X[[2]].toarray())
    assert one.labels is None


def test_texts_that_cannot_be_used(mails, tmp_path):
    (mails / "ham" / "0.txt").write_bytes("gr\u00f6\u00dfe".encode("latin-1"))
    with pytest.raises(DataError, match=r"0\.txt: not UTF-8 text \(byte 2\); give --encoding"):
        load(str(mails))
    assert load(str(mails), ReadOptions(encoding="latin-1")).classes == ("ham", "spam")
    (mails / "odd").mkdir()
    with pytest.raises(DataError, match="odd: the class folder holds no texts"):
        load(str(mails), ReadOptions(encoding="latin-1"))
    (mails / "odd" / "a.png").touch()
    assert kind_of(str(mails)) == "images"
    (tmp_path / "one" / "a").mkdir(parents=True)
    (tmp_path / "one" / "a" / "x.txt").touch()
    with pytest.raises(DataError, match=r"one class alone \(a\)"):
        load(str(tmp_path / "one"))
    (tmp_path / "one" / "b").mkdir()
    (tmp_path / "one" / "b" / "x.txt").write_text("word")
    with pytest.raises(DataError, match="no word is found in 2 of its 2 texts"):
        load(str(tmp_path / "one"))


def test_column_of_texts(tmp_path):
    path = write(tmp_path, CSV)
    data = load(path, ReadOptions(label="kind", text="note", drop=("colour",)))
    assert data.columns == ("size", "bad", "day", "good", "night")
    assert data.X.shape == (4, 5)
    np.testing.assert_array_equal(data.X[:, [0]].toarray().ravel(), [1, 2, 3, 4])
    assert data.samples.excerpts[3] == "bad night"
    rows = load_rows(path, data.recipe)
    np.testing.assert_array_equal(rows.X.toarray(), data.X.toarray())
    with pytest.raises(DataError, match="cannot be the text and the label"):
        load(path, ReadOptions(label="note", text="note"))
    with pytest.raises(DataError, match="no text column 'body'"):
        load(path, ReadOptions(label="kind", text="body"))


# -- .npy ----------------------------------------------------------------------------------------------------


def test_npy(tmp_path):
    X, y = np.arange(12.0).reshape(4, 3), np.array([0, 1, 0, 1])
    np.save(tmp_path / "X_train.npy", X)
    np.save(tmp_path / "labels.npy", y)
    path = str(tmp_path / "X_train.npy")
    with pytest.raises(DataError, match=r"no labels; give their file \(--label"):
        load(path)
    data = load(path, ReadOptions(label=str(tmp_path / "labels.npy")))
    np.testing.assert_array_equal(data.X, X)
    np.save(tmp_path / "y_train.npy", y.reshape(-1, 1))
    np.testing.assert_array_equal(load(path).y, y)
    np.save(tmp_path / "y_train.npy", y[:3])
    with pytest.raises(DataError, match=r"labels of shape \(3,\) for the 4 rows"):
        load(path)
    np.save(tmp_path / "o.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="holds Python objects"):
        load(str(tmp_path / "o.npy"))
    with pytest.raises(DataError, match=r"not an \.npy file, or damaged"):
        load(write(tmp_path, b"nothing", "d.npy"))
    assert load_rows(path, data.recipe).X.shape == (4, 3)
    np.savez(tmp_path / "wide.npz", X=np.ones((2, 5)))
    with pytest.raises(DataError, match="5 features; the model was trained on 3"):
        load_rows(str(tmp_path / "wide.npz"), data.recipe)


# -- any kind ------------------------------------------------------------------------------------------------


def test_rows_of_another_kind(mails, tmp_path):
    recipe = load(str(mails)).recipe
    with pytest.raises(DataError, match="trained on another kind of data; it takes a folder of texts"):
        load_rows(write(tmp_path, CSV), recipe)
    with pytest.raises(DataError, match="it takes a folder of images, or one image"):
        load_rows(str(mails), Recipe("images", {"kind": "pixels", "bins": [1, 1, 1], "size": [2, 2]}))


def test_samples_are_taken_by_rows():
    samples = Samples("text", ("a", "b", "c"), ("A", "B", "C"))
    assert samples.take(np.array([2, 0])) == Samples("text", ("c", "a"), ("C", "A"))
    assert samples.take(np.array([True, False, False])) == Samples("text", ("a",), ("A",))


def test_cache(mails, tmp_path, monkeypatch):
    options = ReadOptions(cache=tmp_path / "deep" / "cache")
    first = load(str(mails), options)
    (entry,) = (tmp_path / "deep" / "cache").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(texts, "read_texts", lambda *a, **k: pytest.fail("read again"))
        second = load(str(mails), options)
    assert second.notes[-1] == f"taken from the cache {entry}"
    np.testing.assert_array_equal(first.X.toarray(), second.X.toarray())
    np.testing.assert_array_equal(first.y, second.y)
    assert (first.classes, first.columns, first.samples) == (second.classes, second.columns, second.samples)
    assert first.recipe.values == second.recipe.values
    np.testing.assert_array_equal(first.recipe.arrays["idf"], second.recipe.arrays["idf"])
    # Whatever the rows depend on is part of the key.
    load(str(mails), ReadOptions(cache=options.cache, encoding="latin-1"))
    assert len(list(entry.parent.iterdir())) == 2
    os.utime(mails / "ham" / "0.txt", ns=(1, 1))
    assert load(str(mails), options).notes == first.notes
    assert len(list(entry.parent.iterdir())) == 3
    for path in entry.parent.iterdir():
        path.write_bytes(b"PK damaged")
    assert load(str(mails), options).notes == first.notes
    with pytest.raises(CommandError, match="the cache cannot be written"):
        load(str(mails), ReadOptions(cache=mails / "ham" / "0.txt"))
