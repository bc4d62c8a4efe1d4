"""Search for hyper-parameters over any field of a run's configuration (Optuna)."""
