"""The compute child: Vosk and the router in a process of their own, and the main process's side of it (``client``)."""
