"""Lambda functions of the local cloud, behind function URLs.

They are processes of the deployed code on a real Runtime API.
"""
