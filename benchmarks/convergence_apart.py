"""A peer's curve, measured in a process of its own: a crash or a hang leaves the rest of the run alone.

Nor does one library's pool of threads disturb another's.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection

import numpy as np
from convergence_curves import LEVELS, Curve
from convergence_peers import PEERS, Peer
from convergence_tasks import Problem

__all__ = ["peer_curve"]

NEAR_ENOUGH = LEVELS[-1] / 4
NO_STANDSTILL = 1e-2  # farther away than that it may just be slow
STANDSTILL = 0.95  # of the distance is left after a larger budget
MOST_STANDSTILLS = 3
PATIENCE = 3.0  # caps without a point, after which a fit is given up
PREPARATION = 600.0  # seconds of loading and compiling


def peer_curve(peer: Peer, task: str, quick: bool, cap: float, least: float) -> Curve:
    """Return a peer's curve, until it is near enough, stands still, or the cap is reached."""
    curve = Curve(peer.name)
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_measure, args=(sender, PEERS.index(peer), task, quick, cap, least), daemon=True
    )
    process.start()
    sender.close()
    try:
        while receiver.poll(PREPARATION + PATIENCE * cap):
            seconds, value, curve.was_cut = receiver.recv()
            curve.seconds.append(seconds)
            curve.values.append(value)
        curve.note = f"given up: no answer for {PREPARATION + PATIENCE * cap:.0f} s"
        process.terminate()
    except EOFError:  # it has ended
        process.join()
        if process.exitcode:
            curve.note = f"crashed (exit code {process.exitcode})"
            curve.was_cut = False
    process.join()
    receiver.close()
    return curve


def _measure(sender: Connection, number: int, task: str, quick: bool, cap: float, least: float) -> None:
    problem = Problem(task, quick)
    best, n_still = np.inf, 0
    for point in PEERS[number].points(problem, cap):
        value = problem.value(point.W, point.b) if np.isfinite(point.W).all() else np.inf
        distance = value / least - 1
        n_still = n_still + 1 if NO_STANDSTILL > distance > STANDSTILL * best else 0
        best = min(best, distance)
        is_over = point.is_last or distance <= NEAR_ENOUGH or n_still >= MOST_STANDSTILLS
        sender.send((point.seconds, value, not is_over))
        if is_over:
            return
