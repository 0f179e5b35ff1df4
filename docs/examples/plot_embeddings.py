"""
Frozen embeddings in float16
============================

The last layer of a network on features that are stored in half precision, as a large archive of them is.
The kernels read float16 as it is and compute in float32: no copy of twice the size is made. The "network"
is a layer of random features of scikit-learn's digits.
"""

import tracemalloc

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import regcore

pixels, y = load_digits(return_X_y=True)
rng = np.random.default_rng(0)
layer = rng.standard_normal((64, 1024)) / 8
features = np.maximum(pixels / 16 @ layer, 0).astype(np.float16)
X, X_test, y, y_test = train_test_split(features, y, test_size=0.3, stratify=y, random_state=0)
print(X.dtype, f"{X.nbytes / 1e6:.1f} MB")

# %%
# A series of strengths, each fit started from the one before, and the memory that Python saw.

strengths = np.geomspace(1e-1, 1e-5, 9)
test = regcore.Objective(X_test, y_test)
accuracy, result = [], None
tracemalloc.start()
for strength in strengths:
    objective = regcore.Objective(X, y, penalty=regcore.L2(strength))
    result = regcore.fit(objective, init=result, tol=1e-3)
    accuracy.append((test.predict(result.W, result.b) == y_test).mean())
peak = tracemalloc.get_traced_memory()[1]
tracemalloc.stop()
print(
    f"most memory at once: {peak / 1e6:.1f} MB; a float32 copy of X would be {X.nbytes * 2 / 1e6:.1f} MB more"
)

# %%

figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.semilogx(strengths, 100 * np.array(accuracy), "o-", color="#2a6f97")
ax.set(xlabel="strength of L2", ylabel="test accuracy, %")
plt.show()
