"""From lavaan's model syntax to a parameter table."""
