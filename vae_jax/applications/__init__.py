"""Uses of trained models, a folder per use: what it computes, measures, plots and reports."""
