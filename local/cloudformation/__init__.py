"""CloudFormation of the local cloud: it deploys stacks and leaves the storage of resources to moto.

moto parses the requests and stores the stacks. `engine` creates, updates, replaces, deletes and
rolls back resources in order of dependency, and records an event for each. One module for each
resource family adds the types that moto lacks.
"""
