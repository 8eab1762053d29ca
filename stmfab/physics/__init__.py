"""Pure physics: arrays and frozen dataclasses in, new ones out; no file, clock, environment or random state."""
