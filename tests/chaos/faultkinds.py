"""What the sandbox is told to do wrong, shared by every chaos test."""

FAULTS = [
    {"kind": "5xx", "status": 500, "share": 0.025},
    {"kind": "5xx", "status": 502, "share": 0.025, "applied": True},
    {"kind": "slow", "seconds": 0.3, "share": 0.05},
    {"kind": "hang", "share": 0.025},
    {"kind": "hang", "share": 0.025, "applied": True},
    {"kind": "apply_drop", "share": 0.05},
    {"kind": "reset", "share": 0.05},
    {"kind": "malformed", "share": 0.05},
    {"kind": "malformed_error", "share": 0.05},
    {"kind": "wrong_type", "share": 0.05},
]
