"""
A path through many features
============================

Genomics has thousands of features and tens of samples. L1 lets features in one by one as the strength goes
down, and with the right strength it finds most of those that matter. The data is made up, so that we know
which these are: 8 of 2,000.
"""

import matplotlib.pyplot as plt
import numpy as np

import regcore

rng = np.random.default_rng(3)
n_samples, n_features, n_informative = 100, 2000, 8
X = rng.standard_normal((n_samples, n_features))
effect = np.zeros(n_features)
effect[:n_informative] = rng.choice([-1, 1], n_informative) * 1.5
y = (X @ effect + rng.standard_normal(n_samples) > 0).astype(int)

# %%
# From the strength at which the first weight leaves zero, the largest entry of the gradient there, down to
# a twentieth of it. Each fit starts from the one before, so that the whole path costs little more than its
# last fit.

at_zero = regcore.Objective(X, y, binary=True).value_and_grad(np.zeros((1, n_features)), np.zeros(1))
strengths = np.abs(at_zero.grad_W).max() * np.geomspace(1, 0.05, 25)
path, result = [], None
for strength in strengths:
    objective = regcore.Objective(X, y, penalty=regcore.L1(strength), binary=True)
    result = regcore.fit(objective, init=result, tol=1e-5, max_iter=5000)
    path.append(result.W[0])
path = np.array(path)
for k in (0, 8, 16, 24):
    found = np.flatnonzero(path[k])
    print(
        f"strength {strengths[k]:.4f}: {len(found):3d} features,"
        f" {np.sum(found < n_informative)} of the true ones"
    )

# %%
# The true features in colour, all others in grey.

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
others = np.flatnonzero(path[:, n_informative:].any(axis=0)) + n_informative
ax.semilogx(strengths, path[:, others], color="#bbb", lw=0.8)
ax.semilogx(strengths, path[:, :n_informative], lw=2)
ax.invert_xaxis()
ax.set(xlabel="strength of L1, weaker to the right", ylabel="weight")
plt.show()
