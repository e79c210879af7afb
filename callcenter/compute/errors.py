"""What can go wrong between the main process and its compute child."""


class ComputeError(RuntimeError):
    """The child cannot start, or could not answer; the text says why and never quotes a caller."""


class ComputeTimeout(ComputeError, TimeoutError):
    """The child did not answer in time; it may be restarting."""
