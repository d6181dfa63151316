"""Rendering of texts, tables and figures for terminals, TensorBoard and reports."""
