"""The commands of `python -m lightning_marlhf`, one file each; each has `main(arguments) -> int`."""
