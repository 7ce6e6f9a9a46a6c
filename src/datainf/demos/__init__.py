"""The embedded default: data, a tiny base and its fine-tuning, for `datainf demo`."""
