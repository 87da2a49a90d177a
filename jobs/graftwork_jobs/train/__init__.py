"""Training: what each worker does, what the driver does, and the rules both follow.

`launch.train` is the way in. `worker.train_worker` is the recipe, top to bottom.
"""
