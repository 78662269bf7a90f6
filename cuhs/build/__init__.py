"""Building a dataset from raw folders: Parquet shards, ``dataset.json`` and ``dataset.html``."""
