"""Text to Routing: what a citizen said, sorted into a category. Knows nothing of calls, cases or HTTP.

The way of a text: ``text`` cleans and cuts it, ``features`` counts it, ``model`` gives probabilities, ``extract``
finds place, intent, danger and particulars, ``router`` weighs them into a ``routing.Routing``. ``training``,
``evaluation`` and ``registry`` make, judge and keep the versions of the model.
"""
