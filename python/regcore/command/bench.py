"""Loss and gradient against the limits of the machine: measuring, without a word printed.

A call reads X at least once, and its two matrix products, scores and gradient, take 4 N D C operations. So no
implementation takes less than

    limit = max(bytes of X / bandwidth, 4 N D C / peak)

seconds, where the bandwidth is that of reading memory and the peak that of multiply-adds in the type of the
computation, with the threads in use. The compiled core measures both, again and again between our turns:
where other guests of a machine take their share of its memory bus, the bandwidth changes from second to
second, and a time counts against the limit of its own minute.
"""

from __future__ import annotations

import gc
import os
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from math import exp, log
from pathlib import Path
from typing import Any

import numpy as np

from regcore import _core
from regcore.objective import Objective
from regcore.reference import loss_and_grad

from .cases import TOLERANCE, Problem, Shape, dense_problem, relative_error
from .errors import CommandError
from .peers import PEERS, PeerUnavailableError, installed

SETTLE_SECONDS = 0.3
"""Threads of a BLAS spin after a call, in case another follows: 0.1 s is too short a pause, 0.2 s enough."""

# Peers sum over the samples in the type of the computation, and their rounding grows with N.
_PEER_TOLERANCE = {"float32": 1e-3, "float64": 1e-10}

_OWN_SETTLE_SECONDS = 0.05  # ours spin some milliseconds
_BURST_SECONDS, _BURST_CALLS = 0.05, 10
_WARM_SECONDS = 0.2  # a call as long as this does not feel that its threads have to wake
_SLOW_SECONDS, _SLOW_REPEATS = 0.5, 3


class DisagreementError(CommandError):
    """Two implementations give different answers: figures of speed would mean nothing."""


@dataclass(frozen=True)
class Settings:
    """What to measure.

    Attributes
    ----------
    shapes : tuple of Shape
    dtypes : tuple of str
        Types of X. float32 and float64 are the type of the computation, too; for others that is float32.
    losses : tuple of str
    peers : tuple of str
        Keys of `peers.PEERS`.
    n_threads : int
    isas : tuple of str
        CPU levels at which regcore is measured.
    repeats : int
        How often each implementation has its turn; calls of half a second and more have 3 turns at most.
    quick : bool
        Fewer pauses and samples of the limits, once a turn: for a look.
    """

    shapes: tuple[Shape, ...]
    dtypes: tuple[str, ...]
    losses: tuple[str, ...]
    peers: tuple[str, ...]
    n_threads: int
    isas: tuple[str, ...]
    repeats: int = 5
    quick: bool = False


@dataclass(frozen=True)
class Case:
    """One loss on one array."""

    shape: Shape
    storage: str
    loss: str

    @property
    def dtype(self) -> str:
        """Type of the computation."""
        return compute_dtype(self.storage)

    @property
    def n_bytes(self) -> int:
        """Bytes of X."""
        return self.shape.n_samples * self.shape.n_features * np.dtype(self.storage).itemsize

    @property
    def n_operations(self) -> int:
        """Floating-point operations of the two matrix products."""
        return 4 * self.shape.n_samples * self.shape.n_features * self.shape.n_classes

    @property
    def intensity(self) -> float:
        """Operations per byte of X."""
        return self.n_operations / self.n_bytes

    def __str__(self) -> str:
        return f"{self.shape} {self.storage} {self.loss}"


@dataclass(frozen=True)
class Timing:
    """Seconds of the timed calls, in their order, and how far the answer is from that in float64."""

    seconds: tuple[float, ...]
    error: float

    @property
    def median(self) -> float:
        """Median of the seconds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Limits:
    """What the machine could do while a case was measured.

    Attributes
    ----------
    best_isa : str
        The best CPU level, whose figures are the machine's.
    samples : mapping of str to sequence of (float, float)
        Bytes read per second and operations per second, by CPU level.
    """

    best_isa: str
    samples: Mapping[str, Sequence[tuple[float, float]]]

    @property
    def bandwidth(self) -> float:
        """Bytes read per second, the median."""
        return statistics.median(sample[0] for sample in self.samples[self.best_isa])

    def peak(self, isa: str | None = None) -> float:
        """Operations per second at a CPU level, by default the best: the median."""
        return statistics.median(sample[1] for sample in self.samples[isa or self.best_isa])


@dataclass(frozen=True)
class Measurement:
    """The times of one case: ours by CPU level, the peers' by name; and the limits of these minutes."""

    case: Case
    limits: Limits
    ours: Mapping[str, Timing]
    peers: Mapping[str, Timing]

    def limit(self, isa: str | None = None) -> float:
        """The least seconds that the case can take on this machine, or at a CPU level of it."""
        return max(self.case.n_bytes / self.limits.bandwidth, self.case.n_operations / self.limits.peak(isa))

    def multiple(self, timing: Timing, isa: str | None = None) -> float:
        """A time as a multiple of the limit: the machine's, or that of a CPU level."""
        return timing.median / self.limit(isa)

    @property
    def is_memory_bound(self) -> bool:
        """Whether reading X takes longer than the arithmetic."""
        return self.case.n_bytes / self.limits.bandwidth > self.case.n_operations / self.limits.peak()

    def lead(self, isa: str) -> float | None:
        """How many times faster than the fastest peer we are; None without peers."""
        if not self.peers:
            return None
        return min(timing.median for timing in self.peers.values()) / self.ours[isa].median


@dataclass(frozen=True)
class Skipped:
    """An array that was not measured, and why."""

    shape: Shape
    storage: str
    reason: str


@dataclass(frozen=True)
class Summary:
    """Our multiples of the limit over all cases, at one CPU level."""

    isa: str
    geometric_mean: float
    maximum: float
    slowest: Case
    least_lead: float | None
    most_lead: float | None


@dataclass(frozen=True)
class Benchmark:
    """Everything that one run of ``regcore bench`` found."""

    settings: Settings
    machine: Mapping[str, Any]
    best_isa: str
    versions: Mapping[str, str]
    measurements: tuple[Measurement, ...]
    skipped: tuple[Skipped, ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def dtypes(self) -> list[str]:
        """The types of computation that were measured."""
        return sorted({m.case.dtype for m in self.measurements})

    def bandwidths(self) -> list[float]:
        """Bytes read per second, one figure a case, ascending."""
        return sorted(m.limits.bandwidth for m in self.measurements)

    def peak(self, dtype: str, isa: str | None = None) -> float:
        """Operations per second, the median over the cases computed in this type."""
        return statistics.median(m.limits.peak(isa) for m in self.measurements if m.case.dtype == dtype)

    def summary(self, isa: str, *, of_level: bool = False) -> Summary:
        """Summarise one CPU level, against the machine's limit or the level's own."""
        if not self.measurements:
            raise ValueError("nothing was measured")
        level = isa if of_level else None
        multiples = [m.multiple(m.ours[isa], level) for m in self.measurements]
        leads = [lead for m in self.measurements if (lead := m.lead(isa)) is not None]
        maximum = max(multiples)
        return Summary(
            isa=isa,
            geometric_mean=exp(sum(map(log, multiples)) / len(multiples)),
            maximum=maximum,
            slowest=self.measurements[multiples.index(maximum)].case,
            least_lead=min(leads, default=None),
            most_lead=max(leads, default=None),
        )


def compute_dtype(storage: str) -> str:
    """Return the type of the computation for X of this type."""
    return storage if storage in ("float32", "float64") else "float32"


# -- the machine ---------------------------------------------------------------------------------------------


def available_memory() -> int | None:
    """Return the bytes of memory that may still be used, or None where the system does not tell."""
    found = []
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        found += [1024 * int(kib) for kib in re.findall(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)]
    except OSError:
        pass
    try:  # the limit of a container
        group = Path("/sys/fs/cgroup")
        limit, used = (
            (group / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current")
        )
        if limit.isdecimal():
            found.append(max(int(limit) - int(used), 0))
    except OSError:
        pass
    return min(found, default=None)


def needed_memory(shape: Shape, storage: str, peers: Sequence[str]) -> int:
    """Return the bytes that the cases of one array take: X, and with peers their copies and N x C arrays."""
    n_entries = shape.n_samples * shape.n_features
    itemsize = np.dtype(compute_dtype(storage)).itemsize
    X = n_entries * np.dtype(storage).itemsize
    needed = X
    copying = [name for name in peers if not PEERS[name].reads_storage]
    if copying and storage != compute_dtype(storage):
        needed += n_entries * itemsize
    if "jax" in copying:
        needed += n_entries * itemsize
    if copying:
        needed += 4 * shape.n_samples * shape.n_classes * itemsize
    making = X + n_entries  # random int8 before they are converted
    return max(needed, making)


def machine() -> dict[str, Any]:
    """Describe the CPU and the compiled core."""
    name = platform.processor() or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        name = found[1].strip() if found else name
    except OSError:
        pass
    return {
        "cpu": name,
        "n_cpus": os.cpu_count(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "core": dict(_core.info()),
    }


@contextmanager
def _any_isa() -> Iterator[None]:
    """Let the block select CPU levels, and select afterwards the one of before."""
    before = _core.info()["isa"]
    try:
        yield
    finally:
        _core.select_isa(before)


class _Probe:
    """Samples the machine's limits for one case."""

    def __init__(self, dtype: str, settings: Settings) -> None:
        self._dtype = dtype
        self._n_threads = settings.n_threads
        self._best_isa = best_isa()
        self._isas = tuple(dict.fromkeys((self._best_isa, *settings.isas)))
        self._samples: dict[str, list[tuple[float, float]]] = {isa: [] for isa in self._isas}

    def sample(self, *, all_levels: bool) -> None:
        for isa in self._isas if all_levels else (self._best_isa,):
            _core.select_isa(isa)
            self._samples[isa].append(_core.measure_limits(self._dtype, self._n_threads))

    def limits(self) -> Limits:
        return Limits(self._best_isa, {isa: tuple(found) for isa, found in self._samples.items()})


def best_isa() -> str:
    """Return the best CPU level that this machine has."""
    return _core.available_isas()[0]


# -- contenders ----------------------------------------------------------------------------------------------


class _Contender:
    """Something that is timed in its turns."""

    def __init__(self, name: str, before: Callable[[], None], run: Callable[[], Any]) -> None:
        self.name = name
        self._before = before
        self._run = run
        self._fastest = 0.0
        self.seconds: list[float] = []
        self.error = 0.0

    def first(self) -> Any:
        """Run once, whatever that takes to compile or allocate."""
        self._before()
        start = time.perf_counter()
        result = self._run()
        self._fastest = time.perf_counter() - start
        return result

    def turn(self) -> None:
        """Time some calls, of which the first ones wake the threads and do not count."""
        self._before()
        if self._fastest < _WARM_SECONDS:
            self._run()
        elapsed = 0.0
        for _ in range(_BURST_CALLS):
            start = time.perf_counter()
            self._run()
            seconds = time.perf_counter() - start
            self.seconds.append(seconds)
            elapsed += seconds
            if elapsed >= _BURST_SECONDS:
                break
        self._fastest = min(self.seconds)

    @property
    def is_done(self) -> bool:
        """Whether it is so slow that it has had enough turns."""
        return self._fastest >= _SLOW_SECONDS and len(self.seconds) >= _SLOW_REPEATS

    def timing(self) -> Timing:
        return Timing(tuple(self.seconds), self.error)


def _check(label: str, case: Case, actual: Any, expected: Any, allowed: float) -> float:
    error = relative_error(actual, expected)
    if not error <= allowed:  # NaN, too
        raise DisagreementError(
            f"{label} disagrees with the NumPy reference at {case}: relative error {error:.2g},"
            f" allowed {allowed:g}"
        )
    return error


def _ours(problem: Problem, case: Case, settings: Settings, expected: Any) -> dict[str, _Contender]:
    p, binary = problem, case.shape.n_classes == 1
    objective = Objective(
        p.X,
        p.y,
        loss=case.loss,
        n_classes=2 if binary else case.shape.n_classes,
        binary=binary,
        n_threads=settings.n_threads,
    )
    out = (np.empty_like(p.W), np.empty_like(p.b))

    def select(isa: str) -> Callable[[], None]:
        return lambda: _core.select_isa(isa)

    contenders = {}
    for isa in settings.isas:
        ours = _Contender(isa, select(isa), lambda: objective.value_and_grad(p.W, p.b, out=out))
        ours.error = _check(f"regcore at {isa}", case, tuple(ours.first()), expected, TOLERANCE[case.dtype])
        contenders[isa] = ours
    return contenders


def _peers(
    problem: Problem, converted: Problem, case: Case, settings: Settings, names: Sequence[str], expected: Any
) -> dict[str, _Contender]:
    contenders = {}
    for name in names:
        peer = PEERS[name]
        data = problem if peer.reads_storage else converted
        call = peer.prepare(data, case.loss, settings.n_threads)
        if call is None:
            continue
        theirs = _Contender(name, lambda: None, call.run)
        theirs.error = _check(
            peer.label, case, call.answer(theirs.first()), expected, _PEER_TOLERANCE[case.dtype]
        )
        contenders[name] = theirs
    return contenders


# -- the run -------------------------------------------------------------------------------------------------


def _measure_case(
    problem: Problem,
    converted: Problem,
    case: Case,
    settings: Settings,
    names: Sequence[str],
    report: Callable[[str], None],
) -> Measurement:
    p, wide = problem, np.float64
    expected = tuple(loss_and_grad(p.X, p.y, p.W.astype(wide), p.b.astype(wide), loss=case.loss))
    ours = _ours(problem, case, settings, expected)
    peers = _peers(problem, converted, case, settings, names, expected)
    probe = _Probe(case.dtype, settings)
    for turn in range(settings.repeats):
        report(f"{case}, turn {turn + 1} of {settings.repeats}")
        waiting: list[_Contender | None] = [peer for peer in peers.values() if not peer.is_done]
        # We, a peer, we, a peer: a machine whose speed drifts treats both alike.
        for k, peer in enumerate(waiting or [None]):
            if k == 0 or not settings.quick:
                time.sleep(SETTLE_SECONDS if peers else 0)
                probe.sample(all_levels=k == 0)
            for level in ours.values():
                level.turn()
            if peer is not None:
                time.sleep(_OWN_SETTLE_SECONDS)
                peer.turn()
    return Measurement(
        case,
        probe.limits(),
        {isa: level.timing() for isa, level in ours.items()},
        {name: peer.timing() for name, peer in peers.items()},
    )


def run(settings: Settings, *, progress: Callable[[int, int, str], None] | None = None) -> Benchmark:
    """Measure all cases.

    Parameters
    ----------
    settings : Settings
    progress : callable, optional
        Called as ``progress(n_done, n_total, what_comes_next)``.

    Raises
    ------
    DisagreementError
        The answer of regcore or of a peer is not that of `regcore.reference`.
    """
    arrays = [(shape, storage) for shape in settings.shapes for storage in settings.dtypes]
    n_total, n_done = len(arrays) * len(settings.losses), 0
    measurements: list[Measurement] = []
    skipped: list[Skipped] = []
    notes: list[str] = []
    versions: dict[str, str] = {}

    def report(detail: str) -> None:
        if progress is not None:
            progress(n_done, n_total, detail)

    with ExitStack() as stack:
        stack.enter_context(_any_isa())
        for name in settings.peers:
            peer = PEERS[name]
            version = installed(peer)
            if version is None:
                notes.append(f"{peer.label} is not installed")
                continue
            report(f"starting {peer.label}")
            try:
                stack.enter_context(peer.session(settings.n_threads))
            except PeerUnavailableError as error:
                notes.append(f"{peer.label} is left out: {error}")
            else:
                versions[name] = version
        names = tuple(versions)

        for shape, storage in arrays:
            reason = _too_large(shape, storage, names)
            if reason is not None:
                skipped.append(Skipped(shape, storage, reason))
                n_done += len(settings.losses)
                continue
            report(f"{shape} {storage}, making the data")
            dtype = compute_dtype(storage)
            problem = dense_problem(shape, dtype, storage)
            converted = problem
            if storage != dtype and not all(PEERS[name].reads_storage for name in names):
                converted = replace(problem, X=problem.X.astype(dtype))
            for loss in settings.losses:
                case = Case(shape, storage, loss)
                report(f"{case}, checking the answers")
                measurements.append(_measure_case(problem, converted, case, settings, names, report))
                n_done += 1
            del problem, converted
            gc.collect()  # one set of arrays at a time
        report("done")
    return Benchmark(
        settings=settings,
        machine=machine(),
        best_isa=best_isa(),
        versions=versions,
        measurements=tuple(measurements),
        skipped=tuple(skipped),
        notes=tuple(notes),
    )


def _too_large(shape: Shape, storage: str, peers: Sequence[str]) -> str | None:
    needed, available = needed_memory(shape, storage, peers), available_memory()
    if available is None or needed <= available // 2:
        return None
    return f"needs {needed / 2**30:.1f} GiB, more than half of the {available / 2**30:.1f} GiB available"
