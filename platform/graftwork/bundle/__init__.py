"""The bundle format: manifest, digests, reading, sealing, verification. Needs neither TensorFlow nor OpenVINO."""
