"""What lies on disk: chunks of points in Parquet files, footprints, the manifest, the write-ahead log."""
