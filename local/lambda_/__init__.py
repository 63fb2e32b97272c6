"""Lambda functions of the local cloud: processes of the deployed code on a real Runtime API, behind
function URLs.
"""
