"""Text -> Routing. Knows nothing of calls, cases or HTTP."""
