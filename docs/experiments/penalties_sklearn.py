"""Which penalty for 25,000 colour histograms of cats and dogs? By scikit-learn alone; give the .npz file."""

import sys

import numpy as np
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV, train_test_split

data = np.load(sys.argv[1])
X_train, X_test, y_train, y_test = train_test_split(data["X"], data["y"], test_size=0.25, random_state=0)
strengths = [1e-3, 1e-4, 1e-5, 1e-6]
grid = [{"penalty": [None]}, {"penalty": ["l1", "l2", "elasticnet"], "alpha": strengths}]
model = SGDClassifier(loss="log_loss", tol=None, max_iter=20, random_state=0)
search = GridSearchCV(model, grid, cv=5).fit(X_train, y_train)
sys.stdout.write(f"{search.best_params_} {search.best_score_:.4f} {search.score(X_test, y_test):.4f}\n")
