"""The ground under every case: areas and units. Knows nothing of telephones or cases."""
