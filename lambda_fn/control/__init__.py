"""The control function: the admin API (FastAPI, run by Mangum), and the rotation of its secret.

Its package and its role are not those of the stream function. It creates keys and reads usage; it
cannot call a model.
"""
