"""What Asterisk speaks: FastAGI (``agi``), AMI (``ami``), AudioSocket (``audiosocket``), its ``recordings``, and an
Asterisk of our own (``asterisk``). Nothing here knows of cases; ``callcenter.calls`` is where the two meet."""
