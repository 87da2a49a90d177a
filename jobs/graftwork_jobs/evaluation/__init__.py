"""What a trained model is worth: metrics, diagnosis, gates and the report. No training and no Keras here."""
