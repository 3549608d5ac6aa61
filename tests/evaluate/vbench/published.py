"""Rows others published, in percent."""

ORDER = [
    *("subject_consistency", "background_consistency", "temporal_flickering", "motion_smoothness"),
    *("dynamic_degree", "aesthetic_quality", "imaging_quality", "object_class", "multiple_objects"),
    *("human_action", "color", "spatial_relationship", "scene", "appearance_style", "temporal_style"),
    "overall_consistency",
]
# Rows of VBench's leaderboard: 16 raw scores; then quality, semantic and total. CausVid's are in its Table 7,
# arXiv:2412.07772, too.
CAUSVID = (
    "97.53 97.19 96.24 98.05 92.69 64.15 68.88 92.99 72.15 99.80 80.17 64.65 56.58 24.27 25.33 27.51",
    (85.65, 78.75, 84.27),
)
COGVIDEOX = (
    "96.23 96.52 98.66 96.92 70.97 61.98 62.90 85.23 62.11 99.40 82.81 66.35 53.20 24.91 25.38 27.59",
    (82.75, 77.04, 81.61),
)
GEN3 = (
    "97.10 96.62 98.61 99.23 60.14 63.34 66.82 87.81 53.64 96.40 80.90 65.09 54.57 24.31 24.71 26.69",
    (84.11, 75.17, 82.32),
)


def raw_of(row):
    return {name: float(value) / 100 for name, value in zip(ORDER, row.split(), strict=True)}
