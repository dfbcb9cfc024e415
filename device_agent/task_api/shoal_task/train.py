"""Training on the device: a task fine-tunes its own copy of a model.

    from shoal_task import kv, model, train

    trainer = train.Trainer(
        model.load("digits.shoalmodel"), loss=train.CrossEntropy(), optimizer=train.Adam(rate=0.001)
    )
    loss = trainer.step(pixels, labels)
    kv.put("model", trainer.to_bytes())          # model.parse(kv.get("model")) has the new weights

Rules of this module:

- A step runs under the limits of the run: it is killed with it, and its tensors count as the engine's.
- The bundle's model is never changed, and other tasks and VMs see none of this.
"""

from device_agent.engine.errors import TrainingRefused
from device_agent.engine.train.losses import CrossEntropy, MeanSquaredError
from device_agent.engine.train.optimizers import Adam, Sgd
from device_agent.engine.train.trainer import Trainer

__all__ = ["Adam", "CrossEntropy", "MeanSquaredError", "Sgd", "Trainer", "TrainingRefused"]
