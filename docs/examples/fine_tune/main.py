"""Learns one writer's digits: what is labelled is learned from, what is not is read with what was learned.

An event is 64 pixel bytes (0 to 16) and one byte: the digit, or UNKNOWN. The newest labelled digits are kept on the
device; every LEARN_EVERY of them the model is tuned on all of them, from where it stands.
"""

import random

from shoal_task import Event, emit, kv, log, model, tensor, train

PIXELS = 64
UNKNOWN = 255
LEARN_EVERY = 25
KEPT = 200
EPOCHS = 30
BATCH = 25
RATE = 0.002

tuned: model.Model | None = None  # of this VM; what is kept outlasts it


def current() -> model.Model:
    """The model as it was tuned last, or as it was released."""
    global tuned
    if tuned is None:
        kept = kv.get("model")
        tuned = model.parse(kept) if kept else model.load("digits.shoalmodel")
    return tuned


def learn(samples: bytes) -> None:
    """Tunes the model on labelled digits, and keeps it."""
    global tuned
    size = PIXELS + 1
    rows = [samples[at : at + size] for at in range(0, len(samples), size)]
    trainer = train.Trainer(current(), loss=train.CrossEntropy(), optimizer=train.Adam(rate=RATE))
    order = random.Random(len(rows))
    loss = 0.0
    for _ in range(EPOCHS):
        order.shuffle(rows)
        for at in range(0, len(rows) - BATCH + 1, BATCH):
            batch = rows[at : at + BATCH]
            pixels = b"".join(row[:PIXELS] for row in batch)
            loss = trainer.step(
                tensor.frombuffer(pixels, "uint8", (BATCH, PIXELS)),
                tensor.tensor([row[PIXELS] for row in batch], "int64"),
            )
    data = trainer.to_bytes()
    kv.put("model", data)
    tuned = model.parse(data)
    log(f"learned from {len(rows)} digits, loss {loss:.4f}")


def on_event(event: Event) -> None:
    pixels, label = event.payload[:PIXELS], event.payload[PIXELS]
    if label == UNKNOWN:
        (odds,) = current().run(tensor.frombuffer(pixels, "uint8", (1, PIXELS)))
        emit("read", bytes([int(tensor.argmax(odds).item())]))
        return
    samples = ((kv.get("samples") or b"") + event.payload)[-KEPT * (PIXELS + 1) :]
    kv.put("samples", samples)
    count = int(kv.get("count") or b"0") + 1
    kv.put("count", str(count).encode())
    if count % LEARN_EVERY == 0:
        learn(samples)
