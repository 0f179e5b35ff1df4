"""The order in which results of threads are joined, tested in C where a thread can be made to wait."""

from __future__ import annotations

import shutil
import subprocess

import pytest

PROGRAM = r"""
#include "threads.h"
#include <stdlib.h>
#include <unistd.h>

enum { BUFFERS = 4, TASKS = 100 };
static int64_t owner[BUFFERS], wanted, wrong;
static void join(void *joint, int buffer) { (void)joint; wrong += owner[buffer] != wanted++; }
static void task(void *joint, int64_t i, int thread)
{
    (void)thread;
    if (i % 10 == 0) usleep(2000); /* stopped by the system between getting a task and taking a buffer */
    const int buffer = rc_joint_take(joint, i);
    owner[buffer] = i;
    rc_joint_leave(joint, i, buffer, join, joint);
}
int main(void)
{
    rc_joint joint;
    rc_joint_init(&joint, BUFFERS, malloc(rc_joint_bytes(BUFFERS)));
    rc_parallel_for(TASKS, 2, task, &joint);
    return wrong || joint.next != TASKS;
}
"""


def test_results_are_joined_in_order_whoever_is_stopped(repository, tmp_path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    source, program = tmp_path / "joint.c", tmp_path / "joint"
    source.write_text(PROGRAM)
    core = repository / "src" / "regcore"
    command = [compiler, "-std=gnu11", "-pthread", "-iquote", core, source, core / "threads.c", "-o", program]
    subprocess.run(command, check=True, timeout=60)
    assert subprocess.run([program], timeout=60).returncode == 0
