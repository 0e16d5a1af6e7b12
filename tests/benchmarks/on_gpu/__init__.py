"""The parts of `gpu.py`: what is true, and how fast it is, on a GPU."""
