"""What turns raw bytes into arrays, for training and serving alike. No Keras, no TensorFlow, no files."""
