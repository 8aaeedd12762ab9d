"""What MLflow shows of a registry: its pages and client read a home through two read-only stores; servers of others get copies."""
