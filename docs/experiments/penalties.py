"""Which penalty for 25,000 colour histograms of cats and dogs? By regcore; give the .npz file."""

import sys

import numpy as np
from sklearn.model_selection import train_test_split

from regcore import LinearClassifierCV, PenaltyComparisonDisplay

data = np.load(sys.argv[1])
X_train, X_test, y_train, y_test = train_test_split(data["X"], data["y"], test_size=0.25, random_state=0)
search = LinearClassifierCV(alphas=[1e-3, 1e-4, 1e-5, 1e-6], l1_ratios=[0.15]).fit(X_train, y_train)
sys.stdout.write(f"{search.best_params_} {search.best_score_:.4f} {search.score(X_test, y_test):.4f}\n")
PenaltyComparisonDisplay.from_estimator(search).figure_.savefig("penalties.png")
