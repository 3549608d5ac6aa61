"""The VBench lane: videos for the official tool, its arithmetic, and the dimensions we can score ourselves.

Two lanes that never share a name. *Official*: videos are exported here and scored by upstream's own program
in its own environment; only its numbers are published. *Native*: our reading of its formulas on the current
stack, for development. docs/vbench.md has the recipes.

Source: VBench, arXiv:2311.17982, and its public code (Apache-2.0), read, not copied.
"""
