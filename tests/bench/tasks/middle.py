"""About 100 ms: a small network over a batch and the reading of its answers; half kernels, half Python."""

import json

from shoal_task import Event, emit, tensor

WIDTH, BATCH, LAYERS = 512, 128, 24
_weights = [tensor.full((WIDTH, WIDTH), 0.001 * (layer + 1)) for layer in range(3)]


def on_event(event: Event) -> None:
    x = tensor.full((BATCH, WIDTH), 0.01 * (event.sequence % 7 + 1))
    for layer in range(LAYERS):
        x = tensor.relu(x @ _weights[layer % 3])
        x = x / (tensor.mean(x, 1, True) + 1.0)
    rows = [memoryview(row) for row in x[:, :96]] * 14
    best = [sorted(range(len(row)), key=row.__getitem__)[-5:] for row in rows]
    total = 0
    for row in best:
        for place, column in enumerate(row):
            total = (total * 31 + place * column) & 0xFFFF
    emit("out", json.dumps([total, sum(map(len, best))]).encode())
