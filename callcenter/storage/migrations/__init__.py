"""Every change of the schema, oldest first. See ``callcenter.storage.migrate``."""
