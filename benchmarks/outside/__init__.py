"""Scripts that other programs' interpreters run: each reads one .npz and writes another; nothing of ours is imported."""
