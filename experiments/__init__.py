"""The commands: flags in, library calls, files out."""
