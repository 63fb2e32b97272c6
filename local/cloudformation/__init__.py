"""CloudFormation of the local cloud: our own deployment of stacks, in front of the resources that moto keeps.

moto parses the requests and keeps the stacks; `engine` creates, updates, replaces, deletes and rolls back their
resources in order of dependency, with an event for each; one module a resource family adds the types moto lacks.
"""
