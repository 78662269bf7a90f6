"""From raw folders to a built dataset: Parquet shards, ``dataset.json`` and ``dataset.html``."""
