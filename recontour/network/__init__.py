"""The paper's networks, tiles, and instance optimisation: the room of torch."""
