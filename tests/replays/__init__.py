"""How each kind of recorded file is replayed; see conformance.py."""
