"""What an endpoint said, and what was right, kept in Parquet files beside the hot path."""
