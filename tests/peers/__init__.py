"""Callers and agents that nobody here wrote: SIPp dials and speaks, baresip answers. For the tests and the demo."""
