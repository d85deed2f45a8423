"""What gra says and is told in JSON, as models: the one source of its JSON Schemas.

:mod:`.runners`, :mod:`.executions` and :mod:`.answers` are what the command line prints with
``--json`` and what the REST API answers; :mod:`.requests` what the REST API takes.  Nobody makes
these documents through the models: ``public()`` of the plain data does, which is quicker, and
tests hold the two together.  :mod:`.schemas` makes JSON Schemas of them.
"""
