"""Scripts for the interpreters of other programs: each reads one .npz and writes another; nothing of ours in them."""
