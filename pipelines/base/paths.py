"""Where stages write their outputs (the same paths as in ``dvc.yaml``), and where they keep unfinished work.

All paths are relative to the project's root.
"""

from pathlib import Path

CHECKED = Path("data/.checked")
FG_SYNTH = Path("data/fg_synth")
DATASET = Path("data/dataset")

HSL = Path("models/hsl")
HSL_METRICS = Path("reports/hsl.json")

MODEL = Path("models/cuhs")
MODEL_RUN = Path("models/run.json")
HISTORY = Path("reports/training.json")

REPORTS = Path("reports")
METRICS = REPORTS / "metrics.json"
CMC = REPORTS / "cmc.csv"
QUERIES = REPORTS / "queries.csv"
THRESHOLDS = REPORTS / "thresholds.json"
REPORT = REPORTS / "report.html"
EVALUATION_RUN = REPORTS / "run.json"

REGISTRATION = REPORTS / "registration.json"
TUNING = REPORTS / "tuning"

# No outputs of DVC, which deletes outputs before a stage runs.
PROFILES = REPORTS / "profile"
RUNS = Path("runs")
OUTBOX = RUNS / "outbox"
