"""Loggers: metrics.csv, TensorBoard, Trackio."""
