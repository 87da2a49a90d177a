"""The network of a job: backbone, head, freezing, augmentation.

From a spec's names to Keras models, and back to plain stock-layer models that a bundle can hold. Knows nothing of data,
workers or the training loop.
"""
