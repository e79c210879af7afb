"""What is sent to citizens and units by SMS and the like: templates, masking, limits, gateways."""
