"""Imputation of cells of a table that were not seen."""
