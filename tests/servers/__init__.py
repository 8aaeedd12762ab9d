"""Real servers that tests talk to: a hub, a database, a store, MLflow."""
