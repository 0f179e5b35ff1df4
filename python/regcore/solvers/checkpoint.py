"""Checkpoints: what is in the file, how it gets there whole, and which fits may go on from it.

A checkpoint is an .npz archive without pickles:

=====================  =====================================================================================
``W``, ``b``           what the fit would have returned (without an intercept there is no ``b``)
``history``            (n_iter, 6) float64: the fields of `HistoryEntry`, NaN for None
``solver/<name>``      the solver's state, see `regcore.solvers.protocol`
``callbacks/<i>/...``  the state of the i-th callback that has one
``about``              JSON: format, version, numbers of the last step, and the fingerprint of the fit
``checksum``           BLAKE2b of all of these
=====================  =====================================================================================

The new file is written beside the old one, forced to the disk, and then takes its name, which is one
operation of the file system: whenever the process or the machine stops, a whole checkpoint is there, the old
or the new.

Archives, digests, JSON and the version are imported where they are used: `fit` needs this module, most fits
leave no checkpoint, and those imports would take a third of the time of ``import regcore``.
"""

from __future__ import annotations

import contextlib
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from regcore.solvers.arguments import real
from regcore.solvers.protocol import Step
from regcore.solvers.result import HistoryEntry

if TYPE_CHECKING:
    import numpy.typing as npt

    from regcore.solvers.protocol import ObjectiveLike, State

    Array: TypeAlias = npt.NDArray[Any]

__all__ = ["Checkpoint", "CheckpointFile", "Checkpoints", "fingerprint_of_fit", "read_checkpoint"]

_FORMAT = "regcore checkpoint 1"
_FRAMES = 8  # from the end of a fit to a warning about its checkpoint, for its caller to see the warning
_SCALARS = ("value", "n_passes", "dual_gap", "residual", "value_is_estimate")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A fit after an iteration.

    Attributes
    ----------
    fingerprint : dict
        Of the problem, the solver and its options, see `fingerprint_of_fit`.
    step : Step
        The last step; its own `state` is not used.
    seed : int
    history : list of HistoryEntry
    state : mapping
        The solver's.
    callbacks : sequence of (str, mapping)
        Class name and state of the callbacks that have one.
    was_stopped : bool
        Whether one of these callbacks stopped the fit here.
    """

    fingerprint: dict[str, Any]
    step: Step
    seed: int
    history: list[HistoryEntry]
    state: State
    callbacks: Sequence[tuple[str, State]]
    was_stopped: bool


class Checkpoints:
    """The checkpoints of one fit: what it goes on from, and what it leaves.

    Parameters
    ----------
    checkpoint, checkpoint_every, resume
        As in `fit`.
    callbacks : iterable of callables
        Those with a state are saved with the fit, and brought back to it.
    fingerprint : callable
        Returns the fingerprint; called if there is something to read or to write.

    Attributes
    ----------
    resumed : Checkpoint or None
        What to go on from.
    """

    def __init__(
        self,
        checkpoint: Any,
        checkpoint_every: Any,
        resume: Any,
        callbacks: Iterable[Any],
        fingerprint: Callable[[], dict[str, Any]],
    ) -> None:
        self.resumed: Checkpoint | None = None
        self._file = None if checkpoint is None else CheckpointFile(checkpoint, checkpoint_every)
        self._with_state = [callback for callback in callbacks if _has_state(callback)]
        self._saved = 0
        source = resume
        if resume is True:
            if self._file is None:
                raise ValueError(
                    "resume=True goes on from `checkpoint`, which is None; give one of them a path"
                )
            source = self._file.path if os.path.exists(self._file.path) else False
        if self._file is None and source is False:
            return
        self._fingerprint = fingerprint()
        if source is not False:
            self.resumed = read_checkpoint(source, self._fingerprint)
            self._load_callbacks(self.resumed, source)
            self._saved = len(self.resumed.history)

    def _load_callbacks(self, found: Checkpoint, source: Any) -> None:
        there, here = [name for name, _ in found.callbacks], [type(c).__name__ for c in self._with_state]
        if there != here:
            raise ValueError(
                f"resume: {os.fsdecode(source)} has the state of the callbacks {there}; "
                f"those of this fit are {here}"
            )
        for callback, (_, state) in zip(self._with_state, found.callbacks, strict=True):
            callback.load_state_dict(state)

    def after_step(self, step: Step, history: list[HistoryEntry], seed: int) -> None:
        """Write a checkpoint if one is due."""
        if self._file is None:
            return
        if step.state is None:  # at the first step, not after an hour
            raise TypeError("checkpoint: this solver gives no state that could be saved")
        if self._file.is_due:
            self._save(step, history, seed, False, _FRAMES + 1)

    def at_end(self, step: Step, history: list[HistoryEntry], seed: int, stopped_by: Sequence[Any]) -> None:
        """Write the last checkpoint, of a fit that could be asked for more; `stopped_by` are callbacks."""
        if self._file is not None and len(history) > self._saved:
            self._save(step, history, seed, any(_has_state(callback) for callback in stopped_by), _FRAMES)

    def _save(
        self, step: Step, history: list[HistoryEntry], seed: int, was_stopped: bool, stacklevel: int
    ) -> None:
        if self._file is None or step.state is None:
            return
        callbacks = [(type(c).__name__, c.state_dict()) for c in self._with_state]
        self._file.write(
            Checkpoint(self._fingerprint, step, seed, history, step.state(), callbacks, was_stopped),
            stacklevel,
        )
        self._saved = len(history)


def _has_state(callback: Any) -> bool:
    return hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict")


@cache
def _version() -> str:
    from importlib.metadata import version

    return version("regcore")


# ---------------------------------------------------------------------- writing


class CheckpointFile:
    """The file that a fit writes its checkpoints to, and when the next one is due.

    Parameters
    ----------
    path : str or path-like
    every : float
        Seconds between two checkpoints.

    Raises
    ------
    TypeError, ValueError
        If an argument is not what it may be.
    OSError
        If no file can be made there.
    """

    def __init__(self, path: Any, every: Any) -> None:
        self.path = _path("checkpoint", path)
        self.every = real("checkpoint_every", every, least=0)
        if os.path.isdir(self.path):
            raise IsADirectoryError(f"checkpoint must name a file; {self.path} is a directory")
        with open(self._new, "wb"):  # here and not after an hour
            pass
        os.unlink(self._new)
        self._due = time.perf_counter() + self.every

    @property
    def _new(self) -> str:
        # always the same name: of killed processes at most one such file stays, which the next one reuses
        return f"{self.path}.new"

    @property
    def is_due(self) -> bool:
        """Whether the time has come."""
        return time.perf_counter() >= self._due

    def write(self, checkpoint: Checkpoint, stacklevel: int) -> None:
        """Replace the file by a new checkpoint; if that fails, warn and leave the file as it is."""
        arrays = _as_arrays(checkpoint)
        try:
            _replace(self.path, self._new, arrays)
        except OSError as error:
            warnings.warn(
                f"no checkpoint could be written to {self.path} ({error}); the fit goes on, and the last "
                "checkpoint that was written is still there, if there was one",
                RuntimeWarning,
                stacklevel=stacklevel,
            )
        self._due = time.perf_counter() + self.every


def _replace(path: str, new: str, arrays: Mapping[str, Array]) -> None:
    try:
        with open(new, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
    if os.name == "posix":  # the new name is on the disk once the folder is
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _as_arrays(checkpoint: Checkpoint) -> dict[str, Array]:
    import json

    step = checkpoint.step
    about = {
        "format": _FORMAT,
        "regcore": _version(),
        "fingerprint": checkpoint.fingerprint,
        "seed": checkpoint.seed,
        "step": {name: getattr(step, name) for name in _SCALARS},
        "callbacks": [name for name, _ in checkpoint.callbacks],
        "was_stopped": checkpoint.was_stopped,
    }
    table = np.array(checkpoint.history, np.float64).reshape(-1, len(HistoryEntry._fields))  # None: NaN
    arrays = {"W": step.W, "history": table, "about": np.array(json.dumps(about))}
    if step.b is not None:
        arrays["b"] = step.b
    for room, state in [("solver", checkpoint.state), *_rooms(checkpoint.callbacks)]:
        for name, value in state.items():
            arrays[f"{room}/{name}"] = np.asarray(value)
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"a state must hold arrays and numbers; {name} is {type(array.item(0)).__name__}")
    return arrays | {"checksum": np.array(_checksum(arrays))}


def _rooms(callbacks: Sequence[tuple[str, State]]) -> list[tuple[str, State]]:
    return [(f"callbacks/{i}", state) for i, (_, state) in enumerate(callbacks)]


def _checksum(arrays: Mapping[str, Array]) -> str:
    import hashlib

    digest = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        _update(digest, name, arrays[name])
    return digest.hexdigest()


def _update(digest: Any, name: str, array: Array) -> None:
    digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
    if array.size:
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)


# ---------------------------------------------------------------------- reading


def read_checkpoint(path: Any, fingerprint: Mapping[str, Any]) -> Checkpoint:
    """Read a checkpoint of the fit that has this fingerprint.

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If the file is no checkpoint, is damaged, or belongs to another fit: the message says what differs.
    """
    import json

    path = _path("resume", path)
    with open(path, "rb") as file:
        try:
            with np.load(file, allow_pickle=False) as archive:
                arrays = dict(archive)
            about = json.loads(str(arrays["about"]))
            whole = str(arrays.pop("checksum")) == _checksum(arrays)
            written = about["format"], about["regcore"]
        except _damage() as error:
            raise ValueError(
                f"resume: {path} is no checkpoint of a fit, or a damaged one ({error})"
            ) from error
    if not whole:
        raise ValueError(f"resume: {path} is damaged: its checksum is not that of its contents")
    if written != (_FORMAT, _version()):
        raise ValueError(
            f"resume: {path} was written by regcore {written[1]} ({written[0]}), this is "
            f"{_version()} ({_FORMAT}); to start from its weights, load W and b with "
            "np.load and give them as init"
        )
    found = about["fingerprint"]
    different = sorted(key for key in {*found, *fingerprint} if found.get(key) != fingerprint.get(key))
    if different:
        listed = "; ".join(
            f"{key} is {found.get(key)!r} there, {fingerprint.get(key)!r} here" for key in different
        )
        raise ValueError(f"resume: {path} is a checkpoint of another fit: {listed}")
    callbacks = [(name, _room(arrays, f"callbacks/{i}")) for i, name in enumerate(about["callbacks"])]
    return Checkpoint(
        fingerprint=found,
        step=Step(arrays["W"], arrays.get("b"), **about["step"]),
        seed=about["seed"],
        history=[_entry(row) for row in arrays["history"].tolist()],
        state=_room(arrays, "solver"),
        callbacks=callbacks,
        was_stopped=about["was_stopped"],
    )


def _damage() -> tuple[type[Exception], ...]:
    """What reading a file that is no whole archive of plain arrays may raise."""
    import struct
    import zipfile
    import zlib

    return (
        *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, MemoryError, OverflowError),
        *(ValueError, KeyError, TypeError, RuntimeError, SyntaxError),
    )


def _room(arrays: Mapping[str, Array], room: str) -> dict[str, Any]:
    found = {}
    for name, array in arrays.items():
        if name.startswith(f"{room}/"):
            found[name.removeprefix(f"{room}/")] = array if array.ndim else array.item()
    return found


def _entry(row: list[float]) -> HistoryEntry:
    iteration, value, dual_gap, residual, n_passes, seconds = row
    gap, rest = (None if math.isnan(x) else x for x in (dual_gap, residual))
    return HistoryEntry(int(iteration), value, gap, rest, n_passes, seconds)


def _path(argument: str, path: Any) -> str:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{argument} must be a path; got {type(path).__name__}")
    return os.fsdecode(path)


# ---------------------------------------------------------------------- which fit it is


def fingerprint_of_fit(
    objective: ObjectiveLike,
    solver: str,
    options: Mapping[str, Any],
    W: Array,
    fit_intercept: bool,
    early_stopping: list[Any] | None = None,
) -> dict[str, Any]:
    """What must be the same for a fit to go on from a checkpoint, as JSON holds it.

    Shapes, types, loss, penalty, solver and its options; and of the data what `Objective` makes of it, if the
    objective is one: digests of the labels, the weights and a sample of X. Not `tol`, `max_iter` and the
    callbacks, which may change.
    """
    import json

    penalty = objective.penalty
    parts = None if penalty is None else [penalty.l1, penalty.l2, penalty.group]
    found = {
        "n_samples": objective.n_samples,
        "n_features": objective.n_features,
        "n_outputs": objective.n_outputs,
        "dtype of X": objective.data_dtype.str,
        "dtype": W.dtype.str,
        "loss": objective.loss.label,
        "penalty (l1, l2, group)": parts,
        "solver": solver,
        "fit_intercept": fit_intercept,
        "early_stopping": early_stopping,
    }
    found |= {f"option {name}": _plain(value) for name, value in options.items()}
    if hasattr(objective, "_fingerprint"):
        found |= objective._fingerprint()
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else repr(value)
