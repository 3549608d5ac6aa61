"""Training: one loop (`trainer`), one protocol (`stage`), one file per stage."""
