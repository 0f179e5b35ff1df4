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
# From the strength at which the first weight leaves zero down to a twentieth of it. Each fit starts from the
# one before, so that the whole path costs little more than its last fit, and each has a certificate.

path = regcore.regularization_path(X, y, penalty="l1", n_alphas=25, alpha_ratio=0.05, binary=True)
weights = path.coefs[:, 0]
assert path.converged.all()
for k in (0, 8, 16, 24):
    found = np.flatnonzero(weights[k])
    print(
        f"strength {path.alphas[k]:.4f}: {len(found):3d} features,"
        f" {np.sum(found < n_informative)} of the true ones,"
        f" at most {path.dual_gaps[k] / path.values[k]:.0e} above the minimum"
    )

# %%
# The true features in colour, all others in grey.

figure, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
others = np.flatnonzero(weights[:, n_informative:].any(axis=0)) + n_informative
ax.semilogx(path.alphas, weights[:, others], color="#bbb", lw=0.8)
ax.semilogx(path.alphas, weights[:, :n_informative], lw=2)
ax.invert_xaxis()
ax.set(xlabel="strength of L1, weaker to the right", ylabel="weight")
plt.show()
