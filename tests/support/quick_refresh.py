"""Settings of a refresh that takes seconds, and whose model serves however good it is."""

SETTINGS = """
[training]
epochs = 1
dimension = 16
transformer_layers = 0
history_length = 16
labels_per_position = 4
horizon_days = 1.0

[refresh.gates]
min_users = 0
max_loss = {}
"""
