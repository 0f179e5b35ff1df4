"""The readers behind ``regcore compare DATA``: each kind of data, and each way to be wrong."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from regcore.command.data import ReadOptions, kind_of, load
from regcore.command.errors import DataError, MissingExtraError

X = np.array([[0, 1.5], [2, -3], [4, 5], [6, 7.25]])
Y = np.array([0, 1, 1, 0])


def npz(tmp_path: Path, **arrays) -> str:
    path = tmp_path / "data.npz"
    np.savez(path, **arrays)
    return str(path)


def text(tmp_path: Path, content: str, name: str = "data.csv") -> str:
    path = tmp_path / name
    path.write_bytes(content.encode())
    return str(path)


def test_digits():
    data = load(None)
    assert data.name == "digits"
    assert data.X.shape == (1797, 64)
    assert data.X.dtype == np.uint8
    assert data.classes == tuple("0123456789")


def test_kind_of(tmp_path):
    assert kind_of(None) == "digits"
    assert kind_of(str(tmp_path)) == "images"
    for name, kind in (("a.NPZ", "npz"), ("a.csv", "csv"), ("a.svm", "svmlight"), ("a.txt", "svmlight")):
        (tmp_path / name).touch()
        assert kind_of(str(tmp_path / name)) == kind
    with pytest.raises(DataError, match=r"nowhere\.npz: no such file or folder"):
        kind_of(str(tmp_path / "nowhere.npz"))
    with pytest.raises(DataError, match="no such file or folder"):
        kind_of("")
    (tmp_path / "a.xlsx").touch()
    with pytest.raises(DataError, match=r"a\.xlsx: unknown kind of file"):
        kind_of(str(tmp_path / "a.xlsx"))
    with pytest.raises(DataError, match="cannot be read"):
        kind_of(str(tmp_path / "a.csv" / "b.csv"))
    with pytest.raises(DataError, match="cannot be read"):
        kind_of("a\0b.csv")


# -- npz -----------------------------------------------------------------------------------------------------


def test_npz(tmp_path):
    data = load(npz(tmp_path, X=X, y=Y, classes=np.array(["cat", "dog"]), columns=np.array(["a", "b"])))
    np.testing.assert_array_equal(data.X, X)
    np.testing.assert_array_equal(data.y, Y)
    assert data.y.dtype == np.int32
    assert data.classes == ("cat", "dog")
    assert data.notes == ()


@pytest.mark.parametrize("dtype", ["u1", "i2", "f2", "f4", ">f4", "<i8"])
def test_npz_types(tmp_path, dtype):
    data = load(npz(tmp_path, X=np.abs(X).astype(dtype), y=Y.reshape(-1, 1)))
    assert data.X.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(data.X, np.abs(X).astype(dtype))


def test_npz_bool_and_images(tmp_path):
    data = load(npz(tmp_path, x=(X > 2).reshape(4, 1, 2), y=Y))
    assert data.X.dtype == np.uint8
    np.testing.assert_array_equal(data.X, X > 2)


def test_npz_parts_are_pooled(tmp_path):
    data = load(npz(tmp_path, X_train=X, y_train=Y, X_test=X + 1, y_test=1 - Y))
    np.testing.assert_array_equal(data.X, np.concatenate([X, X + 1]))
    np.testing.assert_array_equal(data.y, np.concatenate([Y, 1 - Y]))
    assert "pooled" in data.notes[0]


def test_npz_part_without_labels(tmp_path):
    data = load(npz(tmp_path, X_train=X, y_train=Y, X_test=X))
    assert len(data.y) == 4
    assert data.notes == ("X_test has no labels y_test and is left out",)


def parts_of(A, index="i4"):
    return {
        "data": A.data,
        "indices": A.indices.astype(index),
        "indptr": A.indptr.astype(index),
        "shape": np.array(A.shape),
    }


@pytest.mark.parametrize("index", ["i4", "i8"])
def test_npz_csr(tmp_path, index):
    parts = parts_of(sparse.csr_array(X.astype(np.float32)), index)
    data = load(npz(tmp_path, **{f"X_{k}": v for k, v in parts.items()}, y=Y))
    assert sparse.issparse(data.X)
    assert data.X.indices.dtype == data.X.indptr.dtype == np.int32
    np.testing.assert_array_equal(data.X.toarray(), X)
    two = {f"X_{part}_{k}": v for part in ("train", "test") for k, v in parts.items()}
    data = load(npz(tmp_path, **two, y_train=Y, y_test=Y))
    np.testing.assert_array_equal(data.X.toarray(), np.concatenate([X, X]))


def test_npz_csr_out_of_bounds(tmp_path):
    parts = parts_of(sparse.csr_array(X))
    parts["indices"] = parts["indices"] + 1
    with pytest.raises(DataError, match=r"data\.npz: .*no CSR matrix"):
        load(npz(tmp_path, y=Y, **{f"X_{k}": v for k, v in parts.items()}))


def test_npz_csr_incomplete(tmp_path):
    parts = parts_of(sparse.csr_array(X))
    del parts["indptr"]
    with pytest.raises(DataError, match="'X_data' without X_indptr"):
        load(npz(tmp_path, y=Y, **{f"X_{k}": v for k, v in parts.items()}))


def test_npz_csr_not_finite(tmp_path):
    A = sparse.csr_array(X)
    A.data[A.indptr[3] + 1] = np.inf
    with pytest.raises(DataError, match="row 3, column 1 of X is inf"):
        load(npz(tmp_path, y=Y, **{f"X_{k}": v for k, v in parts_of(A).items()}))


class Trap:
    """Fails the test when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_npz_never_unpickles(tmp_path):
    with pytest.raises(DataError, match="array 'X' holds Python objects"):
        load(npz(tmp_path, X=np.array([Trap()], dtype=object), y=Y))
    (tmp_path / "p.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError, match=r"p\.npz: not an \.npz file"):
        load(str(tmp_path / "p.npz"))


def test_npz_that_is_none(tmp_path):
    for name, content in (("e.npz", b""), ("t.npz", b"hello"), ("z.npz", b"PK\x03\x04" + bytes(50))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name):
            load(str(tmp_path / name))
    np.save(tmp_path / "a.npy", X)
    (tmp_path / "a.npy").rename(tmp_path / "a.npz")
    with pytest.raises(DataError, match="holds one array"):
        load(str(tmp_path / "a.npz"))


def test_npz_damaged(tmp_path):
    path = Path(npz(tmp_path, X=np.zeros((400, 9)), y=Y))
    content = bytearray(path.read_bytes())
    content[1000:1100] = b"\xff" * 100  # within X: the checksum no longer fits
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"data\.npz: array 'X' is damaged"):
        load(str(path))
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"data\.npz: not an \.npz file, or damaged"):
        load(str(path))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": X}, "no X with labels y.*it holds a"),
        ({}, "no X with labels y.*it holds no array"),
        ({"X": X}, "no labels y"),
        ({"X": X, "y": Y[:3]}, "4 rows in X but 3 labels in y"),
        ({"X": X, "y": np.eye(4)}, r"'y' has shape \(4, 4\)"),
        ({"X": X[0], "y": Y}, r"'X' has shape \(2,\)"),
        ({"X": X.astype(complex), "y": Y}, "'X' has type complex128"),
        ({"X": X.astype(str), "y": Y}, "'X' has type <U"),
        ({"X": X[:0], "y": Y[:0]}, "no data: 0 rows"),
        ({"X": X[:, :0], "y": Y}, "0 feature columns"),
        ({"X": np.where(X == 5, np.nan, X), "y": Y}, "row 2, column 1 of X is nan"),
        ({"X": np.where(X == 6, -np.inf, X), "y": Y}, "row 3, column 0 of X is -inf"),
        ({"X": X, "y": np.array([0, 1, np.nan, 1])}, "row 2: there is no label"),
        ({"X": X, "y": np.array([0, 1.5, 1, 1])}, "row 1: the label 1.5 is not a class"),
        ({"X": X, "y": Y.astype(complex)}, "labels of type complex128"),
        ({"X": X, "y": np.array(["a", "b", " ", "b"])}, "row 2: there is no label"),
        ({"X": X, "y": Y * 0}, r"one class alone \(0\)"),
        ({"X": X, "y": Y * 0, "classes": np.array(["cat"])}, r"one class alone \(cat\)"),
        ({"X": X, "y": np.array([0, 1, 1, 1])}, "class '0' has a single sample"),
        ({"X_train": X, "y_train": Y, "X_test": X[:, :1], "y_test": Y}, "parts have 1 and 2 columns"),
    ],
)
def test_npz_errors(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message) as caught:
        load(npz(tmp_path, **arrays))
    assert str(caught.value).startswith(str(tmp_path / "data.npz") + ": ")
    assert "\n" not in str(caught.value)


def test_labels_are_numbered_in_order(tmp_path):
    data = load(npz(tmp_path, X=X, y=np.array([5, -1, 5, -1])))
    np.testing.assert_array_equal(data.y, [1, 0, 1, 0])
    assert data.classes == ("-1", "5")
    data = load(npz(tmp_path, X=X, y=np.array([2.0, 0, 2, 0]), classes=np.array(["a", "b", "c"])))
    np.testing.assert_array_equal(data.y, [1, 0, 1, 0])
    assert data.classes == ("a", "c")
    data = load(npz(tmp_path, X=X, y=np.array(["dog", "cat", "dog", "cat"])))
    assert data.classes == ("cat", "dog")


# -- csv -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "1,2,a\n3,4,b\n5,6,a\n7,8,b\n",
        "u,v,kind\n1,2,a\n3,4,b\n5,6,a\n7,8,b\n",
        '"u","v, w","kind"\r\n1,2,"a"\r\n3,4,b\r\n5,6,a\r\n\r\n7,8,b\r\n',
        "\ufeffu;v;kind\n1;2;a\n3;4;b\n5;6;a\n7;8;b",
        "u\tv\tkind\n1\t2\ta\n3\t4\tb\n5\t6\ta\n7\t8\tb",
        ",u,v,kind\n0,1,2,a\n1,3,4,b\n2,5,6,a\n3,7,8,b\n",  # row numbers
    ],
)
def test_csv(tmp_path, content):
    data = load(text(tmp_path, content))
    np.testing.assert_array_equal(data.X, [[1, 2], [3, 4], [5, 6], [7, 8]])
    np.testing.assert_array_equal(data.y, [0, 1, 0, 1])
    assert data.classes == ("a", "b")


def test_csv_of_counted_columns(tmp_path):
    rows = [list(range(k, k + 5)) for k in (3, 9, 4, 7)]
    for header in ("0,1,2,3,4,5", "0,1,2,3,4,kind", "1,2,3,4,5,6"):
        lines = [header] + [",".join(map(str, row)) + f",{'ab'[k % 2]}" for k, row in enumerate(rows)]
        data = load(text(tmp_path, "\n".join(lines)))
        np.testing.assert_array_equal(data.X, rows)
        assert data.classes == ("a", "b")
    data = load(text(tmp_path, "0,1,kind\n1,2,0\n3,4,1\n5,6,0\n7,8,1\n"))
    np.testing.assert_array_equal(data.X, [[1, 2], [3, 4], [5, 6], [7, 8]])


def test_csv_numeric_labels(tmp_path):
    assert load(text(tmp_path, "1,2,10\n3,4,9\n5,6,10\n7,8,9\n")).classes == ("9", "10")
    assert load(text(tmp_path, "u,v,kind\n1,2,1.0\n3,4,0.0\n5,6,1\n7,8,0\n")).classes == ("0", "1")


def test_csv_label_column(tmp_path):
    path = text(tmp_path, "kind,u,v\na,1,2\nb,3,4\na,5,6\nb,7,8\n")
    for label in ("kind", "1"):
        data = load(path, ReadOptions(label=label))
        np.testing.assert_array_equal(data.X, [[1, 2], [3, 4], [5, 6], [7, 8]])
        assert data.classes == ("a", "b")
        assert data.notes == ()
    with pytest.raises(DataError, match=r"no label column 'sort'.*\(kind, u, v\)"):
        load(path, ReadOptions(label="sort"))
    with pytest.raises(DataError, match="no label column '4'"):
        load(path, ReadOptions(label="4"))
    with pytest.raises(DataError, match=r"no label column 'kind'.*no names"):
        load(text(tmp_path, "1,2,3\n4,5,6\n"), ReadOptions(label="kind"))


def test_csv_says_which_column_is_the_label(tmp_path):
    data = load(text(tmp_path, "label,u,v\n3,1,2\n4,3,1\n5,5,2\n6,7,1\n"))
    assert data.classes == ("1", "2")
    assert data.notes[0] == "the label is the last column, 'v'"
    assert "--label label" in data.notes[1]


def test_csv_longer_than_a_block(tmp_path):
    rows = np.arange(9000)
    path = text(tmp_path, "".join(f"{i},{i * 0.5},{i % 3}\n" for i in rows))
    data = load(path)
    np.testing.assert_array_equal(data.X, np.column_stack([rows, rows * 0.5]))
    np.testing.assert_array_equal(data.y, rows % 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", ": the file is empty"),
        ("\n\n", ": the file is empty"),
        ("1\n2\n", ": one column alone"),
        ("u,v,kind\n", ": a line of column names, but no rows"),
        ("u,v,kind\n1,2,a\n3,,b\n", ", line 3, column 'v': the cell is empty"),
        ("1,2,a\n3,nan,b\n", ", line 2, column '2': 'nan'; fill in or remove"),
        ("1,2,a\n3,inf,b\n", ", line 2, column '2': 'inf'; fill in or remove"),
        ("1,?,a\n3,4,b\n", ", line 1, column '2': '\\?'; fill in or remove"),
        ("u,v,kind\n1,2,a\n\n3,red,b\n", ", line 4, column 'v': 'red' is not a number"),
        ("1,2,a\n3,4\n", ", line 2: 2 cells, but the first line has 3"),
        ("u,v,kind\n1,2,a\n3,4,\n", ", line 3, column 'kind': the label is missing"),
        ("1,2,a\n3,4,a\n", r": one class alone \(a\)"),
        ("1,2,0.5\n3,4,1.5\n", ": row 0: the label 0.5 is not a class"),
        ("1,2,a\n3,4,b\n5,6,c\n", ": class 'a' has a single sample.*is the label column the right one"),
    ],
)
def test_csv_errors(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        load(text(tmp_path, content))
    assert str(caught.value).startswith(str(tmp_path / "data.csv"))
    assert "\n" not in str(caught.value)


def test_csv_with_a_header_alone(tmp_path):
    with pytest.raises(DataError, match="no rows"):
        load(text(tmp_path, "u,v,kind\n"), ReadOptions(label="kind"))


def test_csv_of_other_bytes(tmp_path):
    (tmp_path / "b.csv").write_bytes(b"1,2,a\n\xff\xfe\x00,4,b\n")
    with pytest.raises(DataError, match=r"b\.csv, line \d+: not CSV text in UTF-8; give --encoding"):
        load(str(tmp_path / "b.csv"))


# -- svmlight ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".svm", ".svmlight", ".libsvm", ".txt"])
def test_svmlight(tmp_path, suffix):
    path = text(tmp_path, "# a remark\n+1 1:0.5 3:2\n-1 2:1\n+1 3:-1 # why\n-1\n", "data" + suffix)
    data = load(path)
    np.testing.assert_array_equal(data.X.toarray(), [[0.5, 0, 2], [0, 1, 0], [0, 0, -1], [0, 0, 0]])
    np.testing.assert_array_equal(data.y, [1, 0, 1, 0])
    assert data.classes == ("-1", "1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hello world\n", "not a file in svmlight format"),
        ("1 1:0.5\n2 b:3\n", "not a file in svmlight format"),
        ("1 1:0.5\n2 1:nan\n1 2:1\n2 1:1\n", "row 1, column 0 of X is nan"),
        ("1 1:0.5\n1 1:2\n", "one class alone"),
        ("", "no data|not a file in svmlight format"),
    ],
)
def test_svmlight_errors(tmp_path, content, message):
    with pytest.raises(DataError, match=message) as caught:
        load(text(tmp_path, content, "data.svm"))
    assert str(caught.value).startswith(str(tmp_path / "data.svm") + ": ")


# -- any kind ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.npz", "a.csv", "a.svm"])
def test_unreadable_file(tmp_path, monkeypatch, name):
    (tmp_path / name).write_bytes(b"1,2\n")

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied", str(tmp_path / name))

    # A test that runs as root may read anything, whatever its mode.
    monkeypatch.setattr("sklearn.datasets.load_svmlight_file", refuse)
    monkeypatch.setattr("numpy.load", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(DataError, match=rf"{name}: cannot be read \(Permission denied\)"):
        load(str(tmp_path / name))


def test_missing_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("regcore.command.errors.find_spec", lambda name: None)
    for source in (None, str(tmp_path), text(tmp_path, "1 1:1\n", "a.svm")):
        with pytest.raises(MissingExtraError, match=r'pip install "regcore\[command\]"'):
            load(source)
