"""The HTTP face of the hotline: the versioned API, health, metrics and the pages people work with."""
