"""PCM -> utterances. PCM here is signed 16-bit little-endian, 8 kHz, mono, unless a docstring says otherwise."""
