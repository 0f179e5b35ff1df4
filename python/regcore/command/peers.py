"""What ``regcore bench`` measures beside regcore: loss and gradient in NumPy, scikit-learn, PyTorch and JAX.

A peer gets what it runs fastest on: arrays of its own kind and of the type of the computation, made before
the clock starts, and as many threads as regcore. Its answer is brought into the form of
``regcore.loss_and_grad`` outside the clock, too. All are imported by name: whether their types are known to a
checker must not depend on what is installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import Any, NamedTuple, Protocol

import numpy as np

from regcore.reference import loss_and_grad

from .cases import Problem, Shape, dense_problem

__all__ = ["PEERS", "Call", "Peer", "PeerUnavailableError", "installed"]


class PeerUnavailableError(Exception):
    """A peer is installed, but cannot be measured: the message says why."""


class Call(NamedTuple):
    """A loss and its gradient, ready to be timed.

    Attributes
    ----------
    run : callable
        Computes both, and returns when they are there.
    answer : callable
        Makes (value, grad_W, grad_b) of what `run` returned.
    """

    run: Callable[[], Any]
    answer: Callable[[Any], tuple[Any, Any, Any]]


class Peer(Protocol):
    """Somebody else's loss and gradient."""

    label: str
    """The name in tables."""
    module: str
    """What must be importable."""
    distribution: str
    """What is installed, and has a version."""
    reads_storage: bool
    """Whether it reads X of any type; if not, it gets a copy of X in the type of the computation."""

    def session(self, n_threads: int) -> Any:
        """Return a context in which the peer uses so many threads.

        Raises
        ------
        PeerUnavailableError
            It cannot be imported, or cannot be held to them.
        """

    def prepare(self, problem: Problem, loss: str, n_threads: int) -> Call | None:
        """Return what is to be timed, or None for a loss that the peer does not have."""


def installed(peer: Peer) -> str | None:
    """Return the version of a peer, or None."""
    if find_spec(peer.module) is None:
        return None
    try:
        return metadata.version(peer.distribution)
    except metadata.PackageNotFoundError:
        return "unknown version"


@contextmanager
def _blas_threads(n_threads: int) -> Iterator[None]:
    """Hold the BLAS of NumPy and SciPy to so many threads, if threadpoolctl is there to do so."""
    if find_spec("threadpoolctl") is None:
        if n_threads != os.cpu_count():
            raise PeerUnavailableError(f"threadpoolctl, which holds its BLAS to {n_threads}, is missing")
        yield
        return
    with import_module("threadpoolctl").threadpool_limits(limits=n_threads, user_api="blas"):
        yield


def _as_it_is(result: Any) -> tuple[Any, Any, Any]:
    value, grad_W, grad_b = result
    return value, np.asarray(grad_W), np.asarray(grad_b)


class NumpyPeer:
    """`regcore.reference`, which reads X of any type block by block."""

    label, module, distribution = "NumPy", "numpy", "numpy"
    reads_storage = True

    def session(self, n_threads: int) -> Any:
        """See `Peer`."""
        return _blas_threads(n_threads)

    def prepare(self, problem: Problem, loss: str, n_threads: int) -> Call:
        """See `Peer`."""
        p = problem
        return Call(lambda: loss_and_grad(p.X, p.y, p.W, p.b, loss=loss), _as_it_is)


class SklearnPeer:
    """The private `LinearModelLoss` of scikit-learn, on which its LogisticRegression runs."""

    label, module, distribution = "scikit-learn", "sklearn", "scikit-learn"
    reads_storage = False

    @contextmanager
    def session(self, n_threads: int) -> Iterator[None]:
        """See `Peer`."""
        # A private class may be moved or changed by any release: try it.
        try:
            for n_classes in (1, 3):
                tiny = dense_problem(Shape(4, 2, n_classes), "float64")
                call = self.prepare(tiny, "cross_entropy", 1)
                assert call is not None
                call.answer(call.run())
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            raise PeerUnavailableError(f"its loss is a private class and has changed ({error})") from error
        with _blas_threads(n_threads):
            yield

    def prepare(self, problem: Problem, loss: str, n_threads: int) -> Call | None:
        """See `Peer`."""
        losses: Any = import_module("sklearn._loss")
        linear_model: Any = import_module("sklearn.linear_model._linear_loss").LinearModelLoss
        if loss != "cross_entropy":
            return None
        p, n_classes = problem, problem.shape.n_classes
        y = p.y.astype(p.W.dtype)
        coef = np.column_stack([p.W, p.b])
        if n_classes == 1:
            base, coef = losses.HalfBinomialLoss(), coef[0]
        else:
            base, coef = losses.HalfMultinomialLoss(n_classes=n_classes), np.asfortranarray(coef)
        linear = linear_model(base, fit_intercept=True)

        def answer(result: Any) -> tuple[Any, Any, Any]:
            gradient = np.atleast_2d(result[1])
            return result[0], gradient[:, :-1], gradient[:, -1]

        return Call(lambda: linear.loss_gradient(coef, p.X, y, n_threads=n_threads), answer)


class TorchPeer:
    """PyTorch: `cross_entropy` and `multi_margin_loss` of a linear map, and autograd."""

    label, module, distribution = "PyTorch", "torch", "torch"
    reads_storage = False

    @contextmanager
    def session(self, n_threads: int) -> Iterator[None]:
        """See `Peer`."""
        try:
            torch: Any = import_module("torch")
        except (ImportError, OSError) as error:  # a shared library of it may be missing
            raise PeerUnavailableError(f"it cannot be imported ({error})") from error
        before = torch.get_num_threads()
        torch.set_num_threads(n_threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def prepare(self, problem: Problem, loss: str, n_threads: int) -> Call | None:
        """See `Peer`."""
        torch: Any = import_module("torch")
        functional = torch.nn.functional
        n_classes = problem.shape.n_classes
        X = torch.from_numpy(problem.X)
        y = torch.from_numpy(problem.y)
        sign = torch.from_numpy((2 * problem.y - 1).astype(problem.W.dtype))
        W = torch.from_numpy(problem.W.copy()).requires_grad_()
        b = torch.from_numpy(problem.b.copy()).requires_grad_()

        def binary_hinge(S: Any, power: int) -> Any:
            return torch.relu(1 - sign * S[:, 0]).pow(power).mean()

        # multi_margin_loss divides by the number of classes
        losses: Mapping[str, Callable[[Any], Any]]
        if n_classes == 1:
            losses = {
                "cross_entropy": lambda S: functional.softplus(-sign * S[:, 0]).mean(),
                "hinge": lambda S: binary_hinge(S, 1),
                "squared_hinge": lambda S: binary_hinge(S, 2),
            }
        else:
            losses = {
                "cross_entropy": lambda S: functional.cross_entropy(S, y),
                "hinge": lambda S: functional.multi_margin_loss(S, y) * n_classes,
                "squared_hinge": lambda S: functional.multi_margin_loss(S, y, p=2) * n_classes,
            }
        if loss not in losses:
            return None
        of_scores = losses[loss]

        def run() -> Any:
            value = of_scores(functional.linear(X, W, b))
            return (value, *torch.autograd.grad(value, (W, b)))

        def answer(result: Any) -> tuple[Any, Any, Any]:
            value, grad_W, grad_b = (part.detach().numpy() for part in result)
            return value, grad_W, grad_b

        return Call(run, answer)


class JaxPeer:
    """JAX: `jit` of `value_and_grad`; compiled before the clock starts."""

    label, module, distribution = "JAX", "jax", "jax"
    reads_storage = False

    @contextmanager
    def session(self, n_threads: int) -> Iterator[None]:
        """See `Peer`."""
        n_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        if n_threads != n_cpus:
            raise PeerUnavailableError(f"it uses all {n_cpus} CPUs and cannot be held to {n_threads}")
        try:
            jax: Any = import_module("jax")
        except (ImportError, RuntimeError) as error:  # RuntimeError: jax and jaxlib do not fit
            raise PeerUnavailableError(f"it cannot be imported ({error})") from error
        if not hasattr(jax, "enable_x64"):
            raise PeerUnavailableError(f"version {jax.__version__} is too old")
        with ExitStack() as stack:
            stack.enter_context(jax.default_device(jax.devices("cpu")[0]))
            stack.enter_context(jax.enable_x64(True))  # else it computes float64 in float32
            yield

    def prepare(self, problem: Problem, loss: str, n_threads: int) -> Call | None:
        """See `Peer`."""
        jax: Any = import_module("jax")
        jnp = jax.numpy
        n_classes = problem.shape.n_classes

        # jnp.maximum would split the gradient at a tie; a margin of zero contributes nothing.
        def positive(margin: Any) -> Any:
            return jnp.where(margin > 0, margin, 0)

        def margins(S: Any, y: Any) -> Any:
            """Of every class against the label: 1 + s_j - s_y, and 0 at the label."""
            if n_classes == 1:
                return 1 - (2 * y - 1) * S[:, 0]
            ahead = S - jnp.take_along_axis(S, y[:, None], axis=1) + 1
            return jnp.where(jnp.arange(n_classes) == y[:, None], 0, ahead)

        def cross_entropy(S: Any, y: Any) -> Any:
            if n_classes == 1:
                return jax.nn.softplus((1 - 2 * y) * S[:, 0]).mean()
            of_label = jnp.take_along_axis(S, y[:, None], axis=1)[:, 0]
            return (jax.nn.logsumexp(S, axis=1) - of_label).mean()

        def crammer_singer(S: Any, y: Any) -> Any:
            M = margins(S, y)
            return positive(jnp.take_along_axis(M, M.argmax(axis=1)[:, None], axis=1)).mean()

        losses: Mapping[str, Callable[[Any, Any], Any]] = {
            "cross_entropy": cross_entropy,
            "hinge": lambda S, y: positive(margins(S, y)).sum() / len(y),
            "squared_hinge": lambda S, y: (positive(margins(S, y)) ** 2).sum() / len(y),
            "crammer_singer": crammer_singer,
        }
        of_scores = losses[loss]
        call = jax.jit(jax.value_and_grad(lambda Wb, X, y: of_scores(X @ Wb[0].T + Wb[1], y)))
        X = jnp.asarray(problem.X)
        y = jnp.asarray(problem.y.astype(np.int32))
        Wb = (jnp.asarray(problem.W), jnp.asarray(problem.b))

        def answer(result: Any) -> tuple[Any, Any, Any]:
            value, (grad_W, grad_b) = result
            return np.asarray(value), np.asarray(grad_W), np.asarray(grad_b)

        return Call(lambda: jax.block_until_ready(call(Wb, X, y)), answer)


PEERS: Mapping[str, Peer] = {
    "numpy": NumpyPeer(),
    "sklearn": SklearnPeer(),
    "torch": TorchPeer(),
    "jax": JaxPeer(),
}
"""The peers by the names that ``--peers`` takes."""
