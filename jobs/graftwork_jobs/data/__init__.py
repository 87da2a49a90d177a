"""Pictures on their way to training: finding, checking, splitting and batching them. No model and no Ray here."""
