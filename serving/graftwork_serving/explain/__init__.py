"""Which parts of a picture an answer rests on: computed on demand, beside the hot path."""
