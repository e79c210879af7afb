"""Numbers about the work: how good the router is, what it could learn, which version is live and which might be."""
