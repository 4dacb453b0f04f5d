"""Where data come in: frames and matrices, validated once, as plain arrays."""
