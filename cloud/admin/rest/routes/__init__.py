"""Routes by what they are about; each takes its request apart and calls one operation."""
