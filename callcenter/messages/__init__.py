"""What is sent to citizens and units by SMS and the like: templates, masking, limits, gateways."""

from callcenter.messages.telling import tell

__all__ = ["tell"]
