"""NumPy arrays in, vectors out: learn from rows of numbers and compare neighbours before and after."""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

import bodh

out = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/own-arrays")
rows, labels = load_wine(return_X_y=True)
model = bodh.pretrain(rows.astype(np.float32), out=out, epochs=20, batch=64)
vectors = model.embed(rows.astype(np.float32))

nearest = KNeighborsClassifier(5)
print("raw rows:", round(cross_val_score(nearest, rows, labels).mean(), 3))
print(f"{vectors.shape[1]} features:", round(cross_val_score(nearest, vectors, labels).mean(), 3))
