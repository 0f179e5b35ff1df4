"""
A folder of images
==================

The tutorials' experiment: colour histograms of photos, and a linear classifier per penalty. Here the photos
are pieces of the two pictures that come with scikit-learn, a temple and a flower; on the command line the
folder would be your own, and the first two steps ``regcore compare photos`` and ``regcore report photos -o
photos.html``.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

from regcore.command.compare import Settings, compare_penalties, verdict
from regcore.command.data import load

# %%
# One sub-folder per class, of pieces of 12 by 12 pixels: large enough for a few colours, small enough to be
# taken for the other.

folder = Path(tempfile.mkdtemp())
rng = np.random.default_rng(0)
for name, picture in zip(("temple", "flower"), load_sample_images().images, strict=True):
    (folder / name).mkdir()
    for k in range(150):
        top, left = rng.integers(0, picture.shape[0] - 12), rng.integers(0, picture.shape[1] - 12)
        Image.fromarray(picture[top : top + 12, left : left + 12]).save(folder / name / f"{k}.png")

data = load(str(folder))
print(data.X.shape, data.features)

# %%
# The same five splits for all four penalties. Read the sentence first.

comparison = compare_penalties(data, Settings(n_seeds=5))
print(verdict(comparison))

figure, ax = plt.subplots(figsize=(7, 2.6), layout="constrained")
for k, result in enumerate(comparison.results):
    shares = [100 * run.test_accuracy for run in result.runs]
    ax.plot(shares, [k] * len(shares), "o", alpha=0.6)
    ax.plot([np.mean(shares)] * 2, [k - 0.25, k + 0.25], color="#333")
ax.set_yticks(range(4), [result.penalty for result in comparison.results])
ax.invert_yaxis()
ax.set_xlabel("test accuracy, %: a dot for each split, a bar at the mean")
plt.show()
