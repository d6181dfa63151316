"""Paper tables and figures: reads what runs left on disk, never trains."""
