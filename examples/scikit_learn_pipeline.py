"""The encoder inside a scikit-learn pipeline: learn features from all rows, a classifier from few labels."""

from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bodh.sklearn import SelfSupervisedEncoder

rows, labels = load_breast_cancer(return_X_y=True)
train, test, train_labels, test_labels = train_test_split(rows, labels, random_state=0, stratify=labels)
pipeline = make_pipeline(StandardScaler(), SelfSupervisedEncoder(epochs=5), StandardScaler(), LogisticRegression())
pipeline.fit(train, train_labels)
print("accuracy:", round(pipeline.score(test, test_labels), 3))
