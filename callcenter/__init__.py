"""From a ringing line to a case in someone's hands.

Imports run one way: ``api`` -> ``callcenter`` -> ``classifier``. Inside, ``telephony`` and ``speech`` know nothing of
cases; ``cases`` and ``dispatch`` know nothing of telephones; ``calls`` is where the two meet; ``runtime`` alone builds.
"""
