"""Serving: engines, batching, protocols, the Ray Serve deployment and the commands that start it.

No TensorFlow and no Keras is imported anywhere below here: cold start counts.
"""
