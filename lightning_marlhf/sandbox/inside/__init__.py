"""What runs in the sandbox's own interpreter: it sees programs and inputs, and never an expected output."""
