"""The recall function: it reads, resumes, lists, cancels and deletes responses that are kept.

It has the stream function's package and a reserved concurrency of its own. So responses can be read
and stopped while every environment of the stream function is busy.
"""
