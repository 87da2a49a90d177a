"""The bundle format: manifest, digests, reading, sealing, verification. Needs no TensorFlow."""
