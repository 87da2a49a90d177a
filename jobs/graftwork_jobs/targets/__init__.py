"""What is predicted: one object per target kind holds all that depends on it. `choose.make_target` is the way in.

A target kind knows nothing of what goes into the model (pictures or texts).
"""
