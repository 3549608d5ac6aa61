"""Schedules, chunks, solvers and losses: pure tensors, no state."""
