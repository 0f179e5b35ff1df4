"""
Which words count?
==================

Texts as tf-idf in a CSR matrix, which is never made dense. The texts are docstrings of NumPy and of SciPy's
statistics, and L1 is asked to tell the two with as few words as it can.
"""

import inspect

import matplotlib.pyplot as plt
import numpy as np
import scipy.stats
from sklearn.feature_extraction.text import TfidfVectorizer

import regcore

texts, y = [], []
for label, module in enumerate((np, scipy.stats)):
    for name in sorted(dir(module)):
        text = inspect.getdoc(getattr(module, name)) or ""
        if len(text) > 300:
            texts.append(text)
            y.append(label)
y = np.array(y)

vectorizer = TfidfVectorizer(min_df=3, sublinear_tf=True, dtype=np.float32)
X = vectorizer.fit_transform(texts)
words = vectorizer.get_feature_names_out()
print(X.shape, f"{X.nnz / X.shape[0]:.0f} words a text")

# %%
# Two classes and one row of weights: the binary form.

objective = regcore.Objective(X, y, penalty=regcore.L1(3e-4), binary=True)
result = regcore.fit(objective, solver="fista", tol=1e-4)
W = result.W[0]
right = (objective.predict(result.W, result.b) == y).mean()
print(f"{np.count_nonzero(W)} of {len(W)} words are left; {right:.1%} of the texts are told right")

# %%
# What they are. Below zero a word speaks for NumPy, above it for statistics.

order = np.argsort(W)
shown = [j for j in (*order[:10], *order[-10:]) if W[j]]
figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
ax.barh(words[shown], W[shown], color=np.where(W[shown] < 0, "#c8553d", "#2a6f97"))
ax.axvline(0, color="#888", lw=0.8)
ax.set_xlabel("weight")
plt.show()
