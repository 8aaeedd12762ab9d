"""The mirror in MLflow: a one-way projection to browse, rebuildable, never read as truth. The only package that imports mlflow,
and only inside functions."""
