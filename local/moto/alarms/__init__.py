"""Evaluates alarms over the metrics that moto stores, which moto itself never does.

| module | what it does |
|---|---|
| `expression` | metric math |
| `states` | the state that data points lead to, missing ones included |
| `rules` | the rules of composite alarms |
| `evaluate` | reads the metrics, sets the states, and notifies topics |
"""
