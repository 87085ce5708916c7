"""Trained models for programs without this package: StableHLO, ONNX and the Hugging Face Hub."""
