"""Loss functions: pure functions of tensors, without state."""
